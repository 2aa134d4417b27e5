"""Schemas of chat requests: an answer is valid JSON of its schema, or the schema is refused."""

import json
import math
from enum import StrEnum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from tests.serve.conftest import data_url

from siglip2.serve.errors import ApiError
from siglip2.serve.routes.chat_answer import Scored, completion, pieces
from siglip2.serve.routes.chat_schema import parse_schema

NAMES = st.sampled_from(["a cat", "a dog", "ein Vogel", 'so "called"', "é"])
LABELS = st.lists(NAMES, min_size=1, max_size=5, unique=True)
EXTRAS = st.dictionaries(
    st.sampled_from(
        ["minimum", "maximum", "exclusiveMinimum", "multipleOf", "minLength", "maxLength", "pattern",
         "minItems", "maxItems", "uniqueItems", "contains", "required", "minProperties", "maxProperties",
         "not", "format", "additionalProperties", "title", "description", "type", "const", "propertyNames"]
    ),
    st.sampled_from(
        [0, 1, 2, 0.5, True, False, "x", ["a"], ["a", "kind"], {}, {"const": "a cat"}, None, "string", 6]
    ),
    max_size=2,
)  # fmt: skip
LEAVES = st.one_of(
    LABELS.map(lambda names: {"type": "string", "enum": names}),
    LABELS.map(lambda names: {"enum": [*names, None]}),
    NAMES.map(lambda name: {"const": name}),
    LABELS.map(lambda names: {"anyOf": [{"const": name, "description": f"a {name}"} for name in names]}),
    LABELS.map(lambda names: {"anyOf": [{"enum": names}, {"type": "null"}]}),
    st.tuples(NAMES, EXTRAS).map(lambda both: {"anyOf": [{"const": both[0], **both[1]}]}),
    st.sampled_from(["object", "null", "string", ["string", "null"]]).map(
        lambda kind: {"anyOf": [{"enum": ["a cat"]}, {"type": "null"}], "type": kind}
    ),
    st.tuples(LABELS, EXTRAS).map(lambda both: {"type": "array", "items": {"enum": both[0]}} | both[1]),
    st.just({"type": "boolean", "description": "a photo with a person"}),
    st.just({"type": ["boolean", "null"]}),
    st.just({"type": "number"}),
    st.just({"type": "integer"}),
    st.just({"$ref": "#/$defs/Kind", "description": "which"}),
    st.just({"allOf": [{"$ref": "#/$defs/Kind"}]}),
)


def dressed(schemas):
    more = st.tuples(schemas, EXTRAS).map(lambda both: {**both[0], **both[1]})
    return st.one_of(schemas, schemas, more)


OBJECTS = st.recursive(
    dressed(LEAVES),
    lambda inner: dressed(
        st.dictionaries(st.sampled_from(["a", "kind", 'q"']), inner, min_size=1).map(
            lambda properties: {"type": "object", "properties": properties, "required": list(properties)}
        )
    ),
    max_leaves=5,
)


def answered(head, probability):
    """Every leaf with probabilities that the test chooses, and its answer."""
    scored = []
    for leaf in head.leaves():
        ranking = [
            {"label": value, "score": 1 / len(leaf.values), "probability": probability, "logit": 0.0}
            for value in leaf.values
        ]
        scored.append(Scored(leaf, ranking))
    return pieces(head, scored)


@given(OBJECTS, st.sampled_from([0.0, 0.3, 0.7, 1.0]))
@settings(max_examples=250, deadline=None)
def test_answers_are_valid_or_the_schema_is_refused(schema, probability):
    validator = pytest.importorskip("jsonschema", reason="needs jsonschema").Draft202012Validator
    schema = {**schema, "$defs": {"Kind": {"enum": ["a cat", "a dog"]}}}
    try:
        said = answered(parse_schema(schema), probability)
    except ApiError as error:
        refusal = error
    else:
        refusal = None
    if refusal is not None:
        assert (refusal.status, refusal.code) == (400, "unsupported_response_format")
        assert '"json_schema"' in refusal.message
        return
    text = "".join(piece.text for piece in said)
    validator(schema).validate(json.loads(text))


@pytest.mark.parametrize(
    ("schema", "probability", "answer"),
    [
        ({"type": "array", "items": {"enum": ["a", "b", "c"]}, "maxItems": 2}, 0.9, ["a", "b"]),
        ({"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 1}, 0.1, ["a"]),
        ({"enum": ["a", None]}, 0.4, None),
        ({"enum": ["a", None]}, 0.6, "a"),
        ({"anyOf": [{"enum": ["a"]}, {"type": "null"}]}, 0.4, None),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, 0.4, False),
        ({"type": "number", "minimum": 0, "maximum": 1}, 0.25, 0.25),
        ({"$ref": "#/$defs/Kind", "$defs": {"Kind": {"enum": ["a"]}}, "title": "Root"}, 0.1, "a"),
        ({"properties": {"x": {"properties": {"y": {"const": "z"}}}}}, 0.1, {"x": {"y": "z"}}),
    ],
)
def test_what_places_are_filled_with(schema, probability, answer):
    (said,) = answered(parse_schema(schema), probability)
    assert json.loads(said.text) == answer


UNKEPT = [
    {"type": "number", "minimum": 2},
    {"type": "number", "exclusiveMaximum": 1},
    {"type": "number", "multipleOf": 0.5},
    {"type": "integer"},
    {"type": "integer", "enum": ["a"]},
    {"enum": ["a"], "pattern": "^b$"},
    {"enum": ["a"], "minLength": 2},
    {"enum": ["a"], "const": "b"},
    {"type": "array", "items": {"enum": ["a"]}, "contains": {"const": "b"}},
    {"type": "array", "items": {"enum": ["a"]}, "minItems": 2},
    {"type": "array", "items": {"enum": ["a"]}, "maxItems": 0},
    {"type": "array", "items": {"type": "boolean"}},
    {"properties": {"x": {"enum": ["a"]}}, "required": ["y"]},
    {"properties": {"x": {"enum": ["a"]}}, "minProperties": 2},
    {"properties": {"x": {"enum": ["a"]}}, "not": {}},
    {"allOf": [{"enum": ["a"]}, {"enum": ["b"]}]},
    {"$ref": "#/$defs/x", "minItems": 1, "$defs": {"x": {"enum": ["a"]}}},
    {"anyOf": [{"type": "boolean"}, {"type": "number"}]},
    {"anyOf": [{"const": "a"}], "type": "object"},
    {"anyOf": [{"const": "a"}], "minLength": 2},
    {"anyOf": [{"const": "a", "type": "object"}]},
]


@pytest.mark.parametrize("schema", UNKEPT)
def test_what_would_not_be_kept_is_refused(schema):
    with pytest.raises(ApiError) as caught:
        parse_schema(schema)
    assert caught.value.code == "unsupported_response_format"


class Kind(StrEnum):
    CAT = "a cat"
    DOG = "a dog"


class Scene(BaseModel):
    kind: Kind
    other: Kind | None = None
    tags: list[Kind] = Field(max_length=1)
    indoors: bool = Field(description="a photo taken indoors")
    sharp: float = Field(ge=0, le=1)


def test_log_probabilities_of_every_value(client):
    schema = {"type": "json_schema", "json_schema": {"name": "scene", "schema": Scene.model_json_schema()}}
    image = {"type": "image_url", "image_url": {"url": data_url(2)}}
    body = {"messages": [{"role": "user", "content": [image]}], "response_format": schema}
    answer = client.post("/v1/chat/completions", json={**body, "logprobs": True, "top_logprobs": 5}).json()
    (choice,) = answer["choices"]
    Scene.model_validate_json(choice["message"]["content"])
    tokens = choice["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == choice["message"]["content"]
    assert [len(token["top_logprobs"]) for token in tokens] == [2, 2, 2, 2, 1]
    assert sum(math.exp(other["logprob"]) for other in tokens[0]["top_logprobs"]) == pytest.approx(1)
    assert sum(math.exp(other["logprob"]) for other in tokens[3]["top_logprobs"]) == pytest.approx(1)
    for token, head in zip(tokens, answer["classification"]["heads"], strict=True):
        assert token["bytes"] == list(token["token"].encode())
        assert token["logprob"] <= 0
        assert head["scores"]
    streamed = client.post("/v1/chat/completions", json={**body, "logprobs": True, "stream": True}).text
    events = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
    assert [event["choices"][0]["finish_reason"] for event in events] == [None, None, "stop"]
    assert len(events[1]["choices"][0]["logprobs"]["content"]) == 5


@pytest.mark.parametrize(
    ("choice", "finish"),
    [({"type": "function", "function": {"name": "tell"}}, "stop"), ("required", "tool_calls")],
)
def test_how_a_forced_call_ends(client, choice, finish):
    tool = {"type": "function", "function": {"name": "tell", "parameters": Scene.model_json_schema()}}
    image = {"type": "image_url", "image_url": {"url": data_url(2)}}
    body = {"messages": [{"role": "user", "content": [image]}], "tools": [tool], "tool_choice": choice}
    (said,) = client.post("/v1/chat/completions", json=body).json()["choices"]
    assert said["finish_reason"] == finish
    Scene.model_validate_json(said["message"]["tool_calls"][0]["function"]["arguments"])
    free = client.post("/v1/chat/completions", json={**body, "tool_choice": "auto"})
    assert free.json()["error"]["code"] == "unsupported_response_format"


def test_piece_by_piece_is_what_a_client_sees():
    head = parse_schema({"properties": {"a": {"type": "boolean"}, "b": {"enum": ["x", "y"]}}})
    said = answered(head, 0.6)
    answer = completion(
        "m", said, tool=None, finish="stop", template=None, usage={"total_tokens": 1}, top=None
    )
    assert answer["choices"][0]["message"]["content"] == '{"a": true, "b": "x"}'
