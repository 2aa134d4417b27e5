"""The answer of a classification as a chat completion."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from siglip2.serve.routes.chat_schema import Head
from siglip2.serve.routes.shapes import new_id, now

THRESHOLD = 0.5
"""Probability from which a label holds or a description is true."""


@dataclass(frozen=True)
class Scored:
    """A head and its labels, the best first, as `labels.rank` gives them."""

    head: Head
    ranking: list[dict[str, Any]]

    @property
    def value(self) -> Any:
        """What the schema's place is filled with."""
        best = self.ranking[0]
        if self.head.kind == "label":
            holds = best["probability"] >= THRESHOLD or not self.head.optional
            return best["label"] if holds else None
        if self.head.kind == "boolean":
            return best["probability"] >= THRESHOLD
        if self.head.kind == "number":
            return best["probability"]
        holding = sum(entry["probability"] >= THRESHOLD for entry in self.ranking)
        return [entry["label"] for entry in self.ranking[: max(holding, self.head.least)][: self.head.most]]


@dataclass(frozen=True)
class Piece:
    """A part of the answer's text: one value, and what stands before it."""

    text: str
    scored: Scored


def pieces(head: Head, scored: Sequence[Scored], *, bare: bool = False) -> list[Piece]:
    """The answer as JSON, in one piece for each value; together they are the whole text.

    Args:
        head: the schema.
        scored: its leaves, in the order of `Head.leaves`.
        bare: the one label as it is, which is no JSON.
    """
    if bare:
        return [Piece(scored[0].value, scored[0])]
    found: list[Piece] = []
    before = ""
    for part in _parts(head, iter(scored)):
        if isinstance(part, Scored):
            found.append(Piece(before + json.dumps(part.value, ensure_ascii=False), part))
            before = ""
        else:
            before += part
    found[-1] = replace(found[-1], text=found[-1].text + before)
    return found


def _parts(head: Head, scored: Iterator[Scored]) -> Iterator[str | Scored]:
    if head.kind != "object":
        yield next(scored)
        return
    for index, (name, each) in enumerate(head.properties.items()):
        yield f"{', ' if index else '{'}{json.dumps(name, ensure_ascii=False)}: "
        yield from _parts(each, scored)
    yield "}"


def completion(
    model: str,
    said: list[Piece],
    *,
    tool: str | None,
    finish: str,
    template: str | None,
    usage: dict[str, Any],
    top: int | None,
) -> dict[str, Any]:
    """OpenAI's chat completion; `classification` beside it holds all the scores.

    Args:
        model: that answers.
        said: the filled schema.
        tool: the function that had to be called, if any.
        finish: why the answer ends.
        template: the text part that was used as the template of labels, if any; no other text was followed.
        usage: tokens.
        top: how many log-probabilities to give; None for none.
    """
    content = "".join(piece.text for piece in said)
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
    if tool is not None:
        call = {"id": new_id("call"), "type": "function", "function": {"name": tool, "arguments": content}}
        message |= {"content": None, "tool_calls": [call]}
    return {
        "id": new_id("chatcmpl"),
        "object": "chat.completion",
        "created": now(),
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": message,
                "logprobs": None if top is None else _logprobs(said, top),
                "finish_reason": finish,
            }
        ],
        "usage": {**usage, "completion_tokens": 0},
        "classification": {
            "template": template,
            "heads": [
                {
                    "score_type": "softmax" if each.scored.head.kind == "label" else "probability",
                    "scores": each.scored.ranking,
                }
                for each in said
            ],
        },
    }


def chunks(answer: dict[str, Any], *, with_usage: bool) -> bytes:
    """The answer as the events of a stream."""
    choice = answer["choices"][0]
    shared = {key: answer[key] for key in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    delta = {key: value for key, value in choice["message"].items() if key in ("content", "tool_calls")}
    if "tool_calls" in delta:
        delta["tool_calls"] = [{"index": 0, **call} for call in delta["tool_calls"]]
    steps = [
        {"delta": {"role": "assistant", "content": ""}, "finish_reason": None},
        {"delta": delta, "logprobs": choice["logprobs"], "finish_reason": None},
        {"delta": {}, "finish_reason": choice["finish_reason"]},
    ]
    events: list[dict[str, Any]] = [{**shared, "choices": [{"index": 0, **step}]} for step in steps]
    events[-1]["classification"] = answer["classification"]
    if with_usage:
        events.append({**shared, "choices": [], "usage": answer["usage"]})
    lines = [f"data: {json.dumps(event, ensure_ascii=False)}\n\n" for event in events]
    return "".join([*lines, "data: [DONE]\n\n"]).encode()


def _logprobs(said: list[Piece], top: int) -> dict[str, Any]:
    """Each value as one token, with the logarithm of its probability and of what else it might have been."""
    content = []
    for piece in said:
        logprob, others = _alternatives(piece.scored)
        token = {"token": piece.text, "logprob": logprob, "bytes": list(piece.text.encode())}
        content.append({**token, "top_logprobs": others[:top]})
    return {"content": content, "refusal": None}


def _alternatives(scored: Scored) -> tuple[float, list[dict[str, Any]]]:
    """The logarithm of a value's probability, and of its alternatives', the likeliest first.

    A label has its softmax. Labels of which several may hold are independent: the value's probability is the
    product of theirs, and each is listed with its own. A number is the probability of its description itself.
    """
    kind, ranking = scored.head.kind, scored.ranking
    listed = [(entry["label"], entry["score"]) for entry in ranking]
    if kind == "boolean":
        true = ranking[0]["probability"]
        listed = sorted((("true", true), ("false", 1 - true)), key=lambda each: -each[1])
    own = _log(listed[0][1])
    if kind == "labels":
        given = set(scored.value)
        shares = (entry["probability"] for entry in ranking)
        own = sum(
            _log(share if entry["label"] in given else 1 - share)
            for entry, share in zip(ranking, shares, strict=True)
        )
    elif kind == "label" and scored.value is None:
        own = sum(_log(1 - entry["probability"]) for entry in ranking)
    others = [{"token": name, "logprob": _log(share), "bytes": list(name.encode())} for name, share in listed]
    return own, others


def _log(share: float) -> float:
    return math.log(max(share, 1e-45))
