"""Valid requests, and seeded ways to spoil them."""

import copy
import json
import random
from dataclasses import dataclass, field
from typing import Any

from tests.serve.conftest import data_url

IMAGE = {"image": data_url()}
LABELS = ["cat", "dog"]
MESSAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": data_url()}}]}
SCHEMA = {"type": "object", "properties": {"a": {"enum": LABELS}, "b": {"type": "boolean"}}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
VALID: list[tuple[str, dict[str, Any]]] = [
    ("/v1/classify", {"input": [IMAGE], "labels": LABELS, "template": "a {label}", "top_k": 1}),
    (
        "/v1/classify",
        {"input": data_url(), "labels": [{"label": "cat", "prompts": ["a cat"]}], "threshold": 0.5},
    ),
    ("/v1/label_sets", {"name": "pets", "labels": LABELS, "template": "a {label}"}),
    ("/v1/embeddings", {"input": ["a", IMAGE], "encoding_format": "base64", "model": "tiny"}),
    ("/v1/embeddings", {"messages": [MESSAGE], "dimensions": 32}),
    ("/v1/embeddings", {"input": data_url(), "modality": "image"}),
    ("/v2/embed", {"texts": ["a"], "embedding_types": ["float", "int8"], "input_type": "x"}),
    ("/v2/embed", {"inputs": [{"content": [{"type": "text", "text": "a"}]}], "output_dimension": 32}),
    ("/v1/multimodalembeddings", {"inputs": [{"content": [{"type": "text", "text": "a"}]}]}),
    ("/v1/score", {"queries": ["a"], "documents": [IMAGE, "b"], "score_type": "logit"}),
    ("/v1/rerank", {"query": "a", "documents": ["b", IMAGE], "top_n": 1, "return_documents": True}),
    ("/v2/rerank", {"query": IMAGE, "documents": ["b"]}),
    (
        "/v1/chat/completions",
        {"messages": [MESSAGE], "response_format": FORMAT, "logprobs": True, "top_logprobs": 2},
    ),
    (
        "/v1/chat/completions",
        {"messages": [MESSAGE], "tools": [TOOL], "tool_choice": "required", "stream": True},
    ),
    ("/v1/chat/completions", {"messages": [MESSAGE], "guided_choice": LABELS}),
    (
        "/v1/hf/zero-shot-image-classification",
        {"inputs": data_url(), "parameters": {"candidate_labels": LABELS, "hypothesis_template": "a {}"}},
    ),
    ("/v1/search", {"collection": "none", "query": ["a", IMAGE], "filters": ["taken>2020"], "limit": 3}),
]
ODD: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1.5,
        1e308,
        -0.0,
        2**63,
        10**400,
        "",
        " ",
        "\0",
        "a" * 100_000,
        "\ud800",
        "{label}",
    ),
    *(
        [],
        {},
        [[]],
        [None],
        [{}],
        {"": None},
        {"image": 5},
        {"image": ""},
        {"text": None},
        {"$ref": "#"},
        ["a"] * 3000,
    ),
    *(
        "data:image/png;base64,",
        "data:image/png;base64,!!!",
        "data:text/html,x",
        "http://127.0.0.1:9/",
        "file:///etc",
    ),
    *(
        "http://[::1",
        "https://",
        "//x",
        "iVBORw0KGgo=",
        "R0lGODlhAQABAAAAACw=",
        "/9j/4AAQ",
        "$(id)",
        "' OR 1=1 --",
    ),
    *(
        {"url": {"url": "x"}},
        {"type": "image_url"},
        "﷽" * 500,
        "🐈‍⬛",
        "<eos>",
        "<pad><bos>",
        "NaN",
        {"label": "a"},
    ),
]
RAW = [
    b"",
    b"null",
    b"[]",
    b"NaN",
    b'{"input":',
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"1" * 5000,
    b'"\\ud800"',
]
CONTENT_TYPES = [
    "text/plain",
    "application/xml",
    "",
    "application/json; charset=utf-16",
    "multipart/form-data",
    "multipart/form-data; boundary=x",
    "application/x-www-form-urlencoded",
    "a" * 5000,
]
HEADERS = [
    *(
        ("Idempotency-Key", "x" * 300),
        ("Idempotency-Key", ""),
        ("Idempotency-Key", "same"),
        ("X-Request-Id", "a b"),
    ),
    *(
        ("Authorization", "Bearer"),
        ("Authorization", "Basic eDp5"),
        ("Authorization", "Bearer sg2_" + "x" * 9000),
    ),
    *(
        ("Content-Encoding", "gzip"),
        ("Accept", "image/png"),
        ("Range", "bytes=0-1"),
        ("X-Request-Id", "x" * 500),
    ),
    ("Expect", "100-continue"),
    ("Host", "metadata.google.internal"),
    ("X-Forwarded-For", "127.0.0.1"),
]
METHODS = ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"]
PATHS = [
    "/v1/../etc/passwd",
    "/v1//classify",
    "/%00",
    "/v1/classify/",
    "/v1/models/%ff",
    "/v1/models/" + "x" * 5000,
]


@dataclass
class Spoilt:
    """A request that was valid once."""

    method: str
    path: str
    content: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


def spoilt(seed: int) -> Spoilt:
    """The request of a seed."""
    chance = random.Random(seed)
    path, body = chance.choice(VALID)
    kind = chance.random()
    if kind < 0.75:
        body = copy.deepcopy(body)
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            _change(body, chance)
        content = json.dumps(body).encode()
    else:
        content = chance.choice(RAW) if kind < 0.8 else _change_bytes(json.dumps(body).encode(), chance)
    request = Spoilt("POST", path, content)
    if chance.random() < 0.1:
        name, value = chance.choice(HEADERS)
        request.headers[name] = value
    if chance.random() < 0.05:
        request.headers["Content-Type"] = chance.choice(CONTENT_TYPES)
    if chance.random() < 0.04:
        request.method = chance.choice(METHODS)
    if chance.random() < 0.03:
        request.path = chance.choice(PATHS)
    return request


def _change(body: Any, chance: random.Random) -> None:
    """Replace, drop, double or rename one value somewhere."""
    places = list(_places(body))
    if not places:
        return
    holder, key = chance.choice(places)
    deed = chance.random()
    if deed < 0.6:
        holder[key] = copy.deepcopy(chance.choice(ODD))
    elif deed < 0.75:
        del holder[key]
    elif deed < 0.85:
        holder[key] = [holder[key]] * chance.choice((1, 2, 70))
    elif deed < 0.95:
        nested: Any = holder[key]
        for _ in range(chance.choice((1, 5, 200))):
            nested = {"content": [nested]}
        holder[key] = nested
    elif isinstance(holder, dict):
        holder[chance.choice(("image", "text", "content", "model", "n", "$ref", "enum"))] = holder.pop(key)


def _places(value: Any) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in list(items):
        yield value, key
        yield from _places(child)


def _change_bytes(content: bytes, chance: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(chance.choice((1, 3, 20))):
        place = chance.randrange(len(data) + 1)
        deed = chance.random()
        if deed < 0.4 and place < len(data):
            data[place] = chance.randrange(256)
        elif deed < 0.7:
            data[place:place] = chance.choice((b"\0", b'"', b"{", b"]", b"\xff", b"\\u"))
        elif deed < 0.85:
            del data[place : place + chance.choice((1, 10))]
        else:
            del data[place:]
        if not data:
            break
    return bytes(data)
