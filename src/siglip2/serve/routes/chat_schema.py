"""A JSON schema as a task of classification: which properties are labels, yes or no, or scores."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from siglip2.serve.routes.chat_keywords import ANNOTATIONS, refuse_unkept, unsupported

Kind = Literal["label", "labels", "boolean", "number", "object"]

MAX_DEPTH = 8
MAX_HEADS = 64


@dataclass
class Head:
    """One value to be filled in.

    Attributes:
        kind: a label, several labels, yes or no, a score, or an object of heads.
        values: what the answer may be, for labels; the description, for yes or no and scores.
        descriptions: own prompts of values.
        least: labels to give at least, where several may hold.
        most: labels to give at most; None for all that hold.
        optional: null is an answer too, where no label holds.
        properties: the heads of an object.
    """

    kind: Kind
    values: list[Any] = field(default_factory=list)
    descriptions: dict[int, str] = field(default_factory=dict)
    least: int = 0
    most: int | None = None
    optional: bool = False
    properties: dict[str, "Head"] = field(default_factory=dict)

    def leaves(self) -> Iterator["Head"]:
        """The heads that need scores."""
        if self.kind != "object":
            yield self
        for head in self.properties.values():
            yield from head.leaves()


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
    refuse_unkept(schema)
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(alternatives, list):
        if not schema.keys() <= ANNOTATIONS | {"anyOf", "oneOf", "type"}:
            raise unsupported("Beside anyOf in the schema only descriptions are read.")
        return _typed(_alternatives(alternatives, root, name, depth), schema)
    if "const" in schema:
        return _labels([schema["const"]], schema)
    if "enum" in schema:
        return _labels(schema["enum"], schema)
    kind = _type_of(schema)
    description = schema.get("description")
    prompt = description if isinstance(description, str) and description.strip() else name.replace("_", " ")
    if kind in ("boolean", "number"):
        return Head(kind, values=[prompt])
    if kind == "array":
        item = _parse(schema.get("items"), root, name, depth + 1)
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        if item.kind != "label" or item.optional or least > len(item.values):
            raise unsupported("An array must have items with an enum, and minItems that it has.")
        return Head("labels", values=item.values, descriptions=item.descriptions, least=least, most=most)
    properties = schema.get("properties")
    if kind in ("object", None) and isinstance(properties, dict) and properties:
        heads = {key: _parse(each, root, key, depth + 1) for key, each in properties.items()}
        return Head("object", properties=heads)
    raise unsupported("A value must be a string with an enum, an array of these, a boolean or a number.")


def _type_of(schema: Mapping[str, Any]) -> Any:
    """The type; of several the one beside null, which a value that is always there never needs."""
    kind = schema.get("type")
    if isinstance(kind, list):
        others = [each for each in kind if each != "null"]
        return others[0] if len(others) == 1 else "several"
    return kind


def _resolved(schema: Any, root: Mapping[str, Any]) -> dict[str, Any]:
    """What a reference means, with the descriptions that stand beside it."""
    beside: dict[str, Any] = {}
    for _ in range(MAX_DEPTH):
        if not isinstance(schema, dict):
            raise unsupported("A part of the schema is no object.")
        reference = schema.get("$ref")
        parts = schema.get("allOf")
        if isinstance(parts, list) and len(parts) == 1:
            target: Any = parts[0]
        elif isinstance(reference, str) and reference.startswith("#/"):
            target = root
            for step in reference[2:].split("/"):
                target = target.get(step) if isinstance(target, dict) else None
        else:
            return {**schema, **beside}
        own = {key: value for key, value in schema.items() if key not in ("$ref", "allOf")}
        if not own.keys() <= ANNOTATIONS:
            raise unsupported("Beside a reference in the schema only descriptions are read.")
        beside = {**own, **beside}
        schema = target
    raise unsupported("References in the schema do not end.")


def _alternatives(given: list[Any], root: Mapping[str, Any], name: str, depth: int) -> Head:
    """Constants with descriptions of their own; or anything that may be null instead."""
    schemas = [_resolved(each, root) for each in given]
    others = [each for each in schemas if each.get("type") != "null" and each.get("const", "") is not None]
    optional = len(others) < len(schemas)
    if len(others) == 1 and optional:
        head = _parse(others[0], root, name, depth + 1)
        return replace(head, optional=head.kind == "label")
    if not others or not all("const" in each for each in others):
        raise unsupported("anyOf must list constants.")
    for each in others:
        refuse_unkept(each)
        _labels([each["const"]], each)
    descriptions = {
        index: each["description"]
        for index, each in enumerate(others)
        if isinstance(each.get("description"), str) and each["description"].strip()
    }
    return replace(
        _labels([each["const"] for each in others], {}), descriptions=descriptions, optional=optional
    )


def _typed(head: Head, schema: Mapping[str, Any]) -> Head:
    """Hold what alternatives give to the type that stands beside them."""
    own = {"label": "string", "labels": "array"}.get(head.kind, head.kind)
    kinds = schema.get("type", [own, "null"])
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if own not in kinds:
        raise unsupported("The type beside anyOf is none of what it lists.")
    return replace(head, optional=head.optional and "null" in kinds)


def _labels(values: Any, schema: Mapping[str, Any]) -> Head:
    """One of some strings; null among them means that none may hold."""
    if not isinstance(values, list):
        raise unsupported("An enum must list strings.")
    kinds = schema.get("type", ["string", "null"])
    kinds = kinds if isinstance(kinds, list) else [kinds]
    strings = [value for value in values if value is not None]
    if not strings or not all(isinstance(value, str) and value.strip() for value in strings):
        raise unsupported("An enum must list strings.")
    if len(set(strings)) < len(strings):
        raise unsupported("An enum lists a value twice.")
    least, most = schema.get("minLength", 0), schema.get("maxLength", len(max(strings, key=len)))
    if "string" not in kinds or not all(least <= len(value) <= most for value in strings):
        raise unsupported("The type of an enum is string, and its values have the length that it asks for.")
    return Head("label", values=strings, optional=len(strings) < len(values) and "null" in kinds)
