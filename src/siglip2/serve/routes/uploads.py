"""`multipart/form-data` in the place of JSON: image files as they are, and the other fields as text."""

import hashlib
import json
from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from siglip2.serve.errors import bad_request
from siglip2.serve.settings import ServeSettings

Body = TypeVar("Body", bound=BaseModel)

MAX_FIELDS = 4096
FORM = "multipart/form-data"


async def read_body(
    request: Request, shape: type[Body], settings: ServeSettings, *, lists: frozenset[str]
) -> tuple[Body, bytes | None]:
    """The request of either form, and for a form what it says whatever its boundaries are.

    Args:
        request: JSON or a form, whose files become the field `input`.
        shape: of the request.
        settings: whose limits hold.
        lists: fields of a form that may be repeated, and those that hold a JSON list.

    Raises:
        ApiError: 400, neither JSON nor a form.
        RequestValidationError: another shape.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == FORM:
        values, content = await _read_form(request, settings, lists)
        strict = False  # a form has nothing but texts
    else:
        values, content, strict = _read_json(await request.body()), None, None
    try:
        return shape.model_validate(values, strict=strict), content
    except ValidationError as error:
        faults = [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()]
        raise RequestValidationError(faults) from None


def openapi_body(shape: type[BaseModel]) -> dict[str, Any]:
    """The request body of a route that takes both, for the OpenAPI document."""
    schema = shape.model_json_schema(ref_template="#/components/schemas/{model}")
    form = {
        "type": "object",
        "properties": {
            **{key: value for key, value in schema["properties"].items() if key != "input"},
            "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
            "labels": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["file"],
    }
    content = {"application/json": {"schema": schema}, FORM: {"schema": form}}
    return {"requestBody": {"required": True, "content": content}}


def _read_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise bad_request("The body is not valid JSON.", None, "invalid_json") from None


async def _read_form(
    request: Request, settings: ServeSettings, lists: frozenset[str]
) -> tuple[dict[str, Any], bytes]:
    await request.body()  # kept, so that it can be read again
    digest = hashlib.sha256()
    try:
        form = await request.form(
            max_files=settings.max_images + 1, max_fields=MAX_FIELDS, max_part_size=settings.max_body_bytes
        )
    except HTTPException:
        raise bad_request("The form cannot be read.", None, "invalid_form") from None
    values: dict[str, Any] = {}
    files: list[bytes] = []
    for name, value in form.multi_items():
        said = await value.read() if isinstance(value, UploadFile) else value.encode(errors="surrogatepass")
        digest.update(f"{len(name)} {name!r} {type(value).__name__} {len(said)} ".encode())
        digest.update(said)
        if isinstance(value, UploadFile):
            files.append(said)
        elif name in lists:
            values.setdefault(name, []).extend(_listed(value))
        else:
            values[name] = value
    await form.close()
    if files:
        values["input"] = files
    return values, digest.digest()


def _listed(value: Any) -> list[Any]:
    """A JSON list, or the one text that it is."""
    if value.lstrip().startswith("["):
        try:
            given = json.loads(value)
        except (ValueError, RecursionError):
            return [value]
        return given if isinstance(given, list) else [value]
    return [value]
