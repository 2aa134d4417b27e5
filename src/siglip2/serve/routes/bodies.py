"""What requests have in common, for their validation and for the OpenAPI document."""

from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, WithJsonSchema, model_validator

from siglip2.serve.errors import bad_request

_IMAGE = {"type": "string", "minLength": 1, "description": "A URL, a data URL or base64."}
_URL = {"anyOf": [_IMAGE, {"type": "object", "properties": {"url": _IMAGE}, "required": ["url"]}]}
_ONE = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "object", "properties": {"image": _IMAGE}, "required": ["image"]},
        {"type": "object", "properties": {"image_url": _URL}, "required": ["image_url"]},
        {
            "type": "object",
            "properties": {"text": {"type": "string", "minLength": 1}},
            "required": ["text"],
        },
    ]
}

One = Annotated[Any, WithJsonSchema(_ONE)]
"""A text or an image, in the clients' spellings."""

_MANY = {"type": "array", "items": _ONE, "minItems": 1}

OneOrMany = Annotated[Any, WithJsonSchema({"anyOf": [*_ONE["anyOf"], _MANY]})]
"""One, or a list of them."""


class RequestBody(BaseModel):
    """A request as JSON: `0` is not `false`, and `"5"` not `5`. Fields that we do not know are let pass.

    Clients send fields of other servers, such as `truncate_prompt_tokens`. Halves of characters, which JSON
    can say and Unicode cannot, are refused wherever they stand: they can be neither stored nor sent back.
    """

    model_config = ConfigDict(strict=True)

    @model_validator(mode="before")
    @classmethod
    def _only_unicode(cls, given: Any) -> Any:
        place = _find_half_character(given)
        if place is not None:
            raise bad_request("The text is not valid Unicode.", place.lstrip(".") or None)
        return given


def _find_half_character(given: Any) -> str | None:
    """The JSON path of a text that is no Unicode, or of an object with such a name; None for neither."""
    try:
        orjson.dumps(given)  # a fast look at most requests, which have none
    except TypeError:
        return _look_for_half_character(given)
    return None


def _look_for_half_character(given: Any) -> str | None:
    waiting: list[tuple[Any, Any]] = [(given, None)]
    while waiting:
        value, place = waiting.pop()
        if isinstance(value, dict):
            for key in value:
                if not key.isascii() and _is_half(key):
                    return _path(place)
            parts = value.items()
        else:
            parts = enumerate(value) if isinstance(value, list) else ()
        for step, each in parts:
            if isinstance(each, str):
                if not each.isascii() and _is_half(each):
                    return _path((step, place))
            elif isinstance(each, dict | list):
                # A path is put together only where it is told: there may be a million of them.
                waiting.append((each, (step, place)))
    return None


def _path(place: Any) -> str:
    """Of a step, what it is taken from, and so on."""
    steps: list[str] = []
    while place is not None:
        step, place = place
        steps.append(f"[{step}]" if isinstance(step, int) else f".{step}")
    return "".join(reversed(steps))


def _is_half(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
