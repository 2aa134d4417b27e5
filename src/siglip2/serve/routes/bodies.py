"""What requests have in common, for their validation and for the OpenAPI document."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, WithJsonSchema

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

    Clients send fields of other servers, such as `truncate_prompt_tokens`.
    """

    model_config = ConfigDict(strict=True)
