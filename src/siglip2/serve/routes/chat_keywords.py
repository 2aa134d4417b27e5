"""Which keywords of JSON Schema an answer keeps, and the refusal of all others.

An answer that breaks its own schema is worse than none: whoever asked has it parsed.
"""

from collections.abc import Mapping
from typing import Any

from siglip2.serve.errors import bad_request

EXAMPLE = (
    'This model is an encoder and writes no text; it answers by a schema: "response_format": {"type": '
    '"json_schema", "json_schema": {"name": "kind", "schema": {"type": "object", "properties": {"label": '
    '{"type": "string", "enum": ["cat", "dog"]}}, "required": ["label"], "additionalProperties": false}}}.'
)

ANNOTATIONS = frozenset(
    {
        *("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment"),
        *("$schema", "$id", "$defs", "definitions"),
    }
)
"""Keywords that say something and ask for nothing."""

UNKEPT = (
    "multipleOf", "pattern", "contains", "minContains", "maxContains", "prefixItems", "additionalItems",
    "unevaluatedItems", "patternProperties", "propertyNames", "dependentRequired", "dependentSchemas",
    "dependencies", "not", "if", "then", "else", "allOf", "$ref", "$dynamicRef", "$recursiveRef",
)  # fmt: skip
"""Keywords that would have to be checked against the answer; references are resolved before."""


def unsupported(why: str) -> Exception:
    """400 that shows how to ask."""
    return bad_request(f"{why} {EXAMPLE}", "response_format", "unsupported_response_format")


def refuse_unkept(schema: Mapping[str, Any]) -> None:
    """Refuse a part of a schema that asks for more than its answer will keep.

    Raises:
        ApiError: 400.
    """
    for keyword in UNKEPT:
        if keyword in schema:
            raise unsupported(f"The schema's {keyword} is not kept here: leave it out.")
    groups = [name for name in ("anyOf", "oneOf", "const", "enum") if name in schema]
    if len(groups) > 1:
        raise unsupported(f"Beside {groups[0]} the schema's {groups[1]} is not kept here: leave it out.")
    for name in ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"):
        value = schema.get(name, 0)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise unsupported(f"The schema's {name} must be a whole number.")
    if schema.get("maxItems", 1) < max(1, schema.get("minItems", 0)):
        raise unsupported("The schema's maxItems leaves no room.")
    _check_numbers(schema)
    _check_properties(schema)


def _check_numbers(schema: Mapping[str, Any]) -> None:
    """A number is a probability: limits around all of 0 to 1 may stand."""
    for name, holds in (
        ("minimum", lambda least: least <= 0),
        ("maximum", lambda most: most >= 1),
        ("exclusiveMinimum", lambda least: least < 0),
        ("exclusiveMaximum", lambda most: most > 1),
    ):
        value = schema.get(name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if name in schema and not (number and holds(value)):
            raise unsupported(f"A number is a probability from 0 to 1, which the schema's {name} forbids.")


def _check_properties(schema: Mapping[str, Any]) -> None:
    properties = schema.get("properties", {})
    required = schema.get("required", [])
    if not isinstance(properties, dict) or not isinstance(required, list):
        raise unsupported("The schema's properties are an object, and required is a list.")
    if not all(isinstance(name, str) and name in properties for name in required):
        raise unsupported("The schema requires a property that it does not describe.")
    count = len(properties)
    if not schema.get("minProperties", 0) <= count <= schema.get("maxProperties", count):
        raise unsupported("The schema asks for more or fewer properties than it describes.")
