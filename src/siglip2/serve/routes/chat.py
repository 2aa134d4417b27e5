"""`POST /v1/chat/completions`: an image and a JSON schema from a chat client become a classification."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from pydantic import ConfigDict, Field

from siglip2.serve.contents import ImageInput, check_counts, parse_content
from siglip2.serve.errors import bad_request
from siglip2.serve.routes.answers import PIXEL, ChatAnswer
from siglip2.serve.routes.bodies import RequestBody
from siglip2.serve.routes.chat_answer import Scored, chunks, completion, pieces
from siglip2.serve.routes.chat_keywords import unsupported
from siglip2.serve.routes.chat_schema import Head, parse_schema
from siglip2.serve.routes.labels import Label, encode_labels, num_prompts, parse_labels, rank
from siglip2.serve.routes.shapes import encode, usage_of
from siglip2.serve.service import Exchange, allowed

router = APIRouter(tags=["chat"])

PATCHES_BY_DETAIL = {"low": 128, "auto": 256, "high": 1024}
"""NaFlex only: OpenAI's `detail` as a budget of patches."""


EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {}}, "description": "One object, or with `stream` its events."}
}


class ChatRequest(RequestBody):
    """Messages with one image, and a schema to fill."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "messages": [
                        {
                            "role": "user",
                            "content": [
                                {"type": "text", "text": "a photo of a {label}"},
                                {"type": "image_url", "image_url": {"url": PIXEL}},
                            ],
                        }
                    ],
                    "response_format": {
                        "type": "json_schema",
                        "json_schema": {"name": "kind", "schema": {"type": "string", "enum": ["cat", "dog"]}},
                    },
                }
            ]
        }
    )
    model: str | None = None
    messages: list[dict[str, Any]]
    response_format: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    guided_choice: list[str] | None = Field(None, description="vLLM's form: the answer is one of these.")
    structured_outputs: dict[str, Any] | None = Field(None, description='The same: `{"choice": [...]}`.')
    n: int | None = None
    stream: bool | None = False
    stream_options: dict[str, Any] | None = None
    logprobs: bool | None = False
    top_logprobs: int | None = None


@router.post("/v1/chat/completions", response_model=ChatAnswer, responses=EVENTS)
@router.post("/chat/completions", include_in_schema=False)
async def complete(
    body: ChatRequest, exchange: Annotated[Exchange, Depends(allowed("classify", "completions"))]
) -> Response:
    """Fill a schema from an image: enum is a label, array of enum several, boolean or number a score."""
    exchange = exchange.with_model(body.model)
    service, model = exchange.service, exchange.service.model
    if body.n not in (None, 1):
        raise bad_request("Classification has one answer: leave n out.", "n")
    choice = _choice_of(body)
    tool, schema = _schema_of(body) if choice is None else (None, {"enum": choice})
    head = parse_schema(schema)
    image, template = _prompt_of(body)
    check_counts(service.settings, [image], "messages")
    heads = list(head.leaves())
    labels = [_labels_of(service, each, template) for each in heads]
    vision = service.engine.encoder.checkpoint.config.vision
    budget = PATCHES_BY_DETAIL[_detail_of(body)] if vision.naflex else None

    async def work() -> dict[str, Any] | bytes:
        seen = await encode(service, [image], max_num_patches=budget)
        scored: list[Scored] = []
        texts = []
        for each, own in zip(heads, labels, strict=True):
            vectors, text = await encode_labels(service, own)
            texts.append(text)
            multi = each.kind != "label"
            ranking = rank(service, seen.embeddings, own, vectors, multi_label=multi)[0]
            scored.append(Scored(each, ranking))
        answer = completion(
            model,
            pieces(head, scored, bare=choice is not None),
            tool=tool,
            # As OpenAI answers: a function that is named ends like any text.
            finish="tool_calls" if tool is not None and body.tool_choice == "required" else "stop",
            template=template,
            usage=usage_of(seen, *texts),
            top=_top(body),
        )
        if body.stream:
            with_usage = bool((body.stream_options or {}).get("include_usage"))
            return chunks(answer, with_usage=with_usage)
        return answer

    media_type = "text/event-stream" if body.stream else "application/json"
    texts = sum(num_prompts(own) for own in labels)
    return await exchange.charged(work, images=1, texts=texts, media_type=media_type)


def _choice_of(body: ChatRequest) -> list[str] | None:
    """The labels of vLLM's choice, which is answered bare and not as JSON; None without one."""
    choice = body.guided_choice if body.structured_outputs is None else body.structured_outputs.get("choice")
    if choice is None and body.structured_outputs is not None:
        raise unsupported("Of structured_outputs only a choice can be answered.")
    return choice


def _schema_of(body: ChatRequest) -> tuple[str | None, Any]:
    """The name of the forced tool, if any, and the schema."""
    given = body.response_format
    if given is not None:
        wrapped = given.get("json_schema")
        if given.get("type") != "json_schema" or not isinstance(wrapped, dict):
            raise unsupported("The response_format is not of the type json_schema.")
        return None, wrapped.get("schema")
    choice = body.tool_choice
    for tool in body.tools or ():
        function = tool.get("function")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            continue
        named = isinstance(choice, dict) and choice.get("function") == {"name": function["name"]}
        if named or (choice == "required" and len(body.tools or ()) == 1):
            return function["name"], function.get("parameters")
    raise unsupported("There is no response_format and no tool that has to be called.")


def _prompt_of(body: ChatRequest) -> tuple[ImageInput, str | None]:
    """The one image, and the text part that holds `{label}`; other texts are not followed."""
    images: list[ImageInput] = []
    template = None
    for row, message in enumerate(body.messages):
        content = message.get("content")
        for index, part in enumerate(
            content if isinstance(content, list) else [{"type": "text", "text": content}]
        ):
            if isinstance(part, dict) and part.get("type") == "text":
                text = part.get("text")
                if isinstance(text, str) and "{label}" in text:
                    template = text
                continue
            parsed = parse_content(part, f"messages[{row}].content[{index}]")
            if isinstance(parsed, ImageInput):
                images.append(parsed)
    if len(images) != 1:
        raise bad_request(f"Send exactly one image; there are {len(images)}.", "messages")
    return images[0], template


def _labels_of(service: Any, head: Head, template: str | None) -> list[Label]:
    if head.kind in ("label", "labels"):
        values = [
            {"label": value, "prompts": [head.descriptions[index]]} if index in head.descriptions else value
            for index, value in enumerate(head.values)
        ]
        return parse_labels(service, values, template, "response_format")
    # A description is a prompt already.
    described = {"label": head.values[0], "prompts": [head.values[0]]}
    return parse_labels(service, [described], None, "response_format")


def _detail_of(body: ChatRequest) -> str:
    for message in body.messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            url = part.get("image_url") if isinstance(part, dict) else None
            if isinstance(url, dict) and url.get("detail") in PATCHES_BY_DETAIL:
                return url["detail"]
    return "auto"


def _top(body: ChatRequest) -> int | None:
    """How many log-probabilities to give; None for none."""
    if not body.logprobs:
        return None
    return min(20, max(0, body.top_logprobs or 0))
