"""A JSON schema as a task of classification: which properties are labels, yes or no, or scores."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from siglip2.serve.errors import bad_request

Kind = Literal["label", "labels", "boolean", "number", "object"]

MAX_DEPTH = 8
MAX_HEADS = 64

EXAMPLE = (
    'This model is an encoder and writes no text; it answers by a schema: "response_format": {"type": '
    '"json_schema", "json_schema": {"name": "kind", "schema": {"type": "object", "properties": {"label": '
    '{"type": "string", "enum": ["cat", "dog"]}}, "required": ["label"], "additionalProperties": false}}}.'
)


@dataclass
class Head:
    """One value to be filled in.

    Attributes:
        kind: a label, several labels, yes or no, a score, or an object of heads.
        values: what the answer may be, for labels; the description, for yes or no and scores.
        descriptions: own prompts of values.
        least: labels to give at least, where several may hold.
        properties: the heads of an object.
    """

    kind: Kind
    values: list[Any] = field(default_factory=list)
    descriptions: dict[int, str] = field(default_factory=dict)
    least: int = 0
    properties: dict[str, "Head"] = field(default_factory=dict)

    def leaves(self) -> Iterator["Head"]:
        """The heads that need scores."""
        if self.kind != "object":
            yield self
        for head in self.properties.values():
            yield from head.leaves()


def unsupported(why: str) -> Exception:
    """400 that shows how to ask."""
    return bad_request(f"{why} {EXAMPLE}", "response_format", "unsupported_response_format")


def parse_schema(schema: Any) -> Head:
    """What a schema asks for.

    Raises:
        ApiError: 400, for schemas that classification cannot fill.
    """
    if not isinstance(schema, dict):
        raise unsupported("There is no schema.")
    head = _parse(schema, schema, "image", 0)
    if not 0 < sum(1 for _ in head.leaves()) <= MAX_HEADS:
        raise unsupported(f"The schema must have 1 to {MAX_HEADS} values.")
    return head


def _parse(schema: Any, root: Mapping[str, Any], name: str, depth: int) -> Head:
    schema = _resolved(schema, root)
    if depth > MAX_DEPTH:
        raise unsupported("The schema is too deep.")
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(alternatives, list):
        return _alternatives([_resolved(each, root) for each in alternatives])
    if "const" in schema:
        return Head("label", values=_strings([schema["const"]]))
    if "enum" in schema:
        return Head("label", values=_strings(schema["enum"]))
    kind = schema.get("type")
    description = schema.get("description")
    prompt = description if isinstance(description, str) and description.strip() else name.replace("_", " ")
    if kind == "boolean":
        return Head("boolean", values=[prompt])
    if kind == "number":
        return Head("number", values=[prompt])
    if kind == "array":
        item = _parse(schema.get("items"), root, name, depth + 1)
        least = schema.get("minItems", 0)
        if item.kind != "label" or not isinstance(least, int) or not 0 <= least <= len(item.values):
            raise unsupported("An array must have items with an enum.")
        if isinstance(schema.get("maxItems"), int):
            raise unsupported("maxItems is not kept here: leave it out.")
        return Head("labels", values=item.values, descriptions=item.descriptions, least=least)
    properties = schema.get("properties")
    if kind in ("object", None) and isinstance(properties, dict) and properties:
        heads = {key: _parse(each, root, key, depth + 1) for key, each in properties.items()}
        return Head("object", properties=heads)
    raise unsupported("A value must be a string with an enum, an array of these, a boolean or a number.")


def _resolved(schema: Any, root: Mapping[str, Any]) -> dict[str, Any]:
    for _ in range(MAX_DEPTH):
        if not isinstance(schema, dict):
            raise unsupported("A part of the schema is no object.")
        reference = schema.get("$ref")
        parts = schema.get("allOf")
        if isinstance(parts, list) and len(parts) == 1:
            schema = parts[0]
        elif isinstance(reference, str) and reference.startswith("#/"):
            target: Any = root
            for step in reference[2:].split("/"):
                target = target.get(step) if isinstance(target, dict) else None
            schema = target
        else:
            return schema
    raise unsupported("References in the schema do not end.")


def _alternatives(schemas: list[dict[str, Any]]) -> Head:
    if not all("const" in each for each in schemas):
        raise unsupported("anyOf must list constants.")
    descriptions = {
        index: each["description"]
        for index, each in enumerate(schemas)
        if isinstance(each.get("description"), str) and each["description"].strip()
    }
    return Head("label", values=_strings([each["const"] for each in schemas]), descriptions=descriptions)


def _strings(values: Any) -> list[str]:
    if (
        not isinstance(values, list)
        or not values
        or not all(isinstance(v, str) and v.strip() for v in values)
    ):
        raise unsupported("An enum must list strings.")
    if len(set(values)) < len(values):
        raise unsupported("An enum lists a value twice.")
    return values
