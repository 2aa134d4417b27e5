"""`POST /v1/score`: pairs of texts and images, in vLLM's shape."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from pydantic import ConfigDict, Field

from siglip2.serve.contents import Content, check_counts
from siglip2.serve.errors import bad_request
from siglip2.serve.routes.answers import PIXEL, ScoreAnswer
from siglip2.serve.routes.bodies import OneOrMany, RequestBody
from siglip2.serve.routes.shapes import count, encode, new_id, now, parse_list, usage_of
from siglip2.serve.service import Exchange, allowed

router = APIRouter(tags=["score"])


class ScoreRequest(RequestBody):
    """One query against many documents, or as many of both."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"queries": "a red car", "documents": [{"image": PIXEL}]}]}
    )
    model: str | None = None
    queries: OneOrMany = Field(None, description="A text or image, or a list.")
    documents: OneOrMany = Field(None, description="A text or image, or a list.")
    text_1: Any = Field(None, description="Older name of `queries`, as is `data_1`.")
    text_2: Any = Field(None, description="Older name of `documents`, as is `data_2`.")
    data_1: Any = None
    data_2: Any = None
    score_type: Literal["probability", "cosine", "logit"] = "probability"


@router.post("/v1/score", response_model=ScoreAnswer)
@router.post("/score", include_in_schema=False)
async def score(body: ScoreRequest, exchange: Annotated[Exchange, Depends(allowed("score"))]) -> Response:
    """How well pairs match."""
    exchange = exchange.with_model(body.model)
    service, model = exchange.service, exchange.service.model
    queries = _listed((body.queries, body.text_1, body.data_1), "queries")
    documents = _listed((body.documents, body.text_2, body.data_2), "documents")
    if len(queries) not in (1, len(documents)):
        raise bad_request(
            f"{len(queries)} queries and {len(documents)} documents: send one query, or one a document.",
            "queries",
        )
    contents = [*queries, *documents]
    check_counts(service.settings, contents, "documents")

    async def work() -> dict[str, Any]:
        encoded = await encode(service, contents)
        left, right = encoded.embeddings[: len(queries)], encoded.embeddings[len(queries) :]
        cosine = (left * right).sum(axis=1)
        encoder = service.engine.encoder
        logit = encoder.logit_scale * cosine + encoder.logit_bias
        probability = service.engine.probabilities(logit)
        values = {"probability": probability, "cosine": cosine, "logit": logit}[body.score_type]
        return {
            "id": new_id("score"),
            "object": "list",
            "created": now(),
            "model": model,
            "score_type": body.score_type,
            "data": [
                {"index": index, "object": "score", "score": float(value)}
                for index, value in enumerate(values)
            ],
            "usage": usage_of(encoded),
        }

    return await exchange.charged(work, **count(contents))


def _listed(names: Sequence[Any], param: str) -> list[Content]:
    """The texts and images under the first name that is given."""
    value = next((each for each in names if each is not None), None)
    if value is None:
        raise bad_request("Field required.", param, "missing")
    contents = parse_list(value, param)
    if not contents:
        raise bad_request("Send at least one.", param, "missing")
    return contents
