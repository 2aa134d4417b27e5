"""`POST /v1/heatmap`: where in an image a label is seen."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from siglip2.encoder import PatchFeatures
from siglip2.errors import InvalidImage
from siglip2.heatmap import project_patches
from siglip2.serve.contents import ImageInput, parse_content, read_images
from siglip2.serve.engine import Engine
from siglip2.serve.errors import bad_request, overloaded, unusable_image
from siglip2.serve.meter import count_tokens
from siglip2.serve.routes.answers import PIXEL, TokenUsage
from siglip2.serve.routes.bodies import One, RequestBody
from siglip2.serve.routes.labels import encode_labels, num_prompts, parse_labels
from siglip2.serve.routes.shapes import new_id, now
from siglip2.serve.service import Exchange, allowed

router = APIRouter(tags=["classify"])

MAX_LABELS = 16
MAX_WAITING = 8
"""Heat maps at a time; they run beside the batches, one after the other."""


class HeatmapRequest(RequestBody):
    """One image, and what to look for."""

    model_config = ConfigDict(
        strict=True, json_schema_extra={"examples": [{"input": {"image": PIXEL}, "labels": ["a cat"]}]}
    )
    model: str | None = None
    input: One = Field(description="One image: `{image}`, `{image_url}`, a data URL, base64 or a URL.")
    labels: list[str | dict[str, Any]] = Field(description="As for `/v1/classify`, at most 16.")
    template: str | None = Field(None, description="With `{label}`, or `plain`, `clip8`, `clip81`.")


class Heatmap(BaseModel):
    """One label."""

    label: str = Field(examples=["a cat"])
    similarity: list[list[float]] = Field(description="Cosine of each patch with the label, row by row.")


class HeatmapAnswer(BaseModel):
    """Where the labels are seen. Numbers compare places of one map, and say nothing across images."""

    id: str
    object: Literal["heatmap"]
    created: int
    model: str
    grid: tuple[int, int] = Field(description="Patches high and wide.")
    data: list[Heatmap]
    usage: TokenUsage


class Queue:
    """Heat maps that wait and the one that runs, of one service."""

    def __init__(self) -> None:
        # One thread: a map whose caller has left still holds up the next.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="siglip2-heatmap")
        self._waiting = 0

    async def patches(self, engine: Engine, file: bytes, param: str) -> tuple[PatchFeatures, np.ndarray]:
        """Features of an image's patches, and each of them in the space of the texts: (h, w, E).

        Raises:
            ApiError: 422 for an unusable image, 503 if too many wait.
        """
        if self._waiting >= MAX_WAITING:
            raise overloaded()
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, _patches, engine, file)
        except InvalidImage as error:
            raise unusable_image("The image cannot be read: it is damaged or too large.", param) from error
        finally:
            self._waiting -= 1


@router.post("/v1/heatmap", response_model=HeatmapAnswer)
async def heatmap(
    request: Request, body: HeatmapRequest, exchange: Annotated[Exchange, Depends(allowed("classify"))]
) -> Response:
    """Where in an image labels are seen: a similarity for each patch. It costs as much as to classify.

    A map shows where the evidence lies and not how much there is of it; ask `/v1/classify` for that.
    """
    if len(body.labels) > MAX_LABELS:
        raise bad_request(f"At most {MAX_LABELS} labels go in one request.", "labels", "too_many_labels")
    labels = parse_labels(exchange.service, body.labels, body.template, "labels")
    exchange = exchange.with_model(body.model)
    service = exchange.service
    content = parse_content(body.input, "input", strings_are_images=True)
    if not isinstance(content, ImageInput):
        raise bad_request('Only images have a heat map: send {"image": ...}.', content.param)
    queue: Queue = request.app.state.heatmaps

    async def work() -> dict[str, Any]:
        (file,) = await read_images([content], service)
        features, projected = await queue.patches(service.engine, file, content.param)
        vectors, texts = await encode_labels(service, labels)
        height, width = features.grid
        count_tokens(height * width)
        total = height * width + texts.text_tokens
        maps = np.round(np.einsum("hwe,le->lhw", projected, vectors), 5).tolist()
        return {
            "id": new_id("heatmap"),
            "object": "heatmap",
            "created": now(),
            "model": service.model,
            "grid": [height, width],
            "data": [
                {"label": label.name, "similarity": each} for label, each in zip(labels, maps, strict=True)
            ],
            "usage": {
                "prompt_tokens": total,
                "total_tokens": total,
                "prompt_tokens_details": {
                    "text_tokens": texts.text_tokens,
                    "image_tokens": height * width,
                    "cached_tokens": texts.cached_tokens,
                },
            },
        }

    return await exchange.charged(work, images=1, texts=num_prompts(labels))


def _patches(engine: Engine, file: bytes) -> tuple[PatchFeatures, np.ndarray]:
    (features,) = engine.encoder.patch_features([file])
    return features, project_patches(engine.encoder.checkpoint, features.features)
