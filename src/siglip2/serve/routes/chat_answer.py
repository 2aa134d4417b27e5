"""The answer of a classification as a chat completion."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
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
            return best["label"]
        if self.head.kind == "boolean":
            return best["probability"] >= THRESHOLD
        if self.head.kind == "number":
            return best["probability"]
        holding = sum(entry["probability"] >= THRESHOLD for entry in self.ranking)
        return [entry["label"] for entry in self.ranking[: max(holding, self.head.least)]]


def fill(head: Head, scored: Iterator[Scored]) -> Any:
    """The value of the whole schema; takes the leaves in the order of `Head.leaves`."""
    if head.kind == "object":
        return {name: fill(each, scored) for name, each in head.properties.items()}
    return next(scored).value


def completion(
    model: str,
    content: str,
    scored: list[Scored],
    *,
    tool: str | None,
    template: str | None,
    usage: dict[str, Any],
    top: int | None,
) -> dict[str, Any]:
    """OpenAI's chat completion; `classification` beside it holds all the scores.

    Args:
        model: that answers.
        content: the filled schema as JSON.
        scored: what it was filled from.
        tool: the function that had to be called, if any.
        template: the text part that was used as the template of labels, if any; no other text was followed.
        usage: tokens.
        top: how many log-probabilities to give; None for none.
    """
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
                "logprobs": None if top is None else _logprobs(content, scored[0], top),
                "finish_reason": "stop",
            }
        ],
        "usage": {**usage, "completion_tokens": 0},
        "classification": {
            "template": template,
            "heads": [
                {
                    "score_type": "softmax" if each.head.kind == "label" else "probability",
                    "scores": each.ranking,
                }
                for each in scored
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


def _logprobs(content: str, scored: Scored, top: int) -> dict[str, Any]:
    """The first head's scores as log-probabilities: the whole answer is one token."""
    entries = [
        {
            "token": entry["label"],
            "logprob": math.log(max(entry["score"], 1e-45)),
            "bytes": list(entry["label"].encode()),
        }
        for entry in scored.ranking
    ]
    first = {**entries[0], "token": content, "bytes": list(content.encode())}
    return {"content": [{**first, "top_logprobs": entries[:top]}], "refusal": None}
