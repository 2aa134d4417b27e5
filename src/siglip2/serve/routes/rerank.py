"""`POST /v1/rerank`, `/v2/rerank`: a query against documents, in Cohere's, Jina's and vLLM's shape."""

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends
from fastapi.responses import Response
from pydantic import ConfigDict, Field

from siglip2.serve.contents import TextInput, check_counts, parse_content
from siglip2.serve.routes.answers import PIXEL, RerankAnswer
from siglip2.serve.routes.bodies import One, RequestBody
from siglip2.serve.routes.shapes import count, encode, new_id, parse_list, usage_of
from siglip2.serve.service import Exchange, allowed

router = APIRouter(tags=["rerank"])


class RerankRequest(RequestBody):
    """Documents to be ordered by how well they match a query."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"query": "a red car", "documents": [{"image": PIXEL}, "a car"]}]}
    )
    model: str | None = None
    query: One = Field(description="A text or an image.")
    documents: list[One] | dict[str, Any] = Field(
        description="Texts and images; or, as vLLM takes them, the parts of one `content`."
    )
    top_n: int | None = Field(None, ge=1)
    top_k: int | None = Field(None, ge=1, description="Voyage's top_n; the answer then has its `data` too.")
    return_documents: bool = False


@router.post("/v1/rerank", response_model=RerankAnswer)
@router.post("/v2/rerank", response_model=RerankAnswer)
@router.post("/rerank", include_in_schema=False)
async def rerank(body: RerankRequest, exchange: Annotated[Exchange, Depends(allowed("score"))]) -> Response:
    """Documents in the order of their match; `relevance_score` is a probability."""
    exchange = exchange.with_model(body.model)
    service, model = exchange.service, exchange.service.model
    query = parse_content(body.query, "query")
    documents = parse_list(body.documents, "documents")
    check_counts(service.settings, documents, "documents")
    contents = [query, *documents]
    check_counts(service.settings, contents, "query")

    async def work() -> dict[str, Any]:
        encoded = await encode(service, contents)
        cosine = encoded.embeddings[1:] @ encoded.embeddings[0]
        encoder = service.engine.encoder
        logit = encoder.logit_scale * cosine + encoder.logit_bias
        probability = service.engine.probabilities(logit)
        order = np.argsort(-cosine, kind="stable").tolist()[: body.top_n or body.top_k]
        results = []
        for index in order:
            entry: dict[str, Any] = {
                "index": index,
                "relevance_score": float(probability[index]),
                "cosine": float(cosine[index]),
                "logit": float(logit[index]),
            }
            document = documents[index]
            if body.return_documents and isinstance(document, TextInput):
                entry["document"] = {"text": document.text}
            results.append(entry)
        # Voyage's client always names top_k, and reads the results under another name.
        more = {"data": results} if "top_k" in body.model_fields_set else {}
        return {
            "id": new_id("rerank"),
            "object": "rerank",
            "model": model,
            "results": results,
            "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
            "usage": usage_of(encoded),
            **more,
        }

    return await exchange.charged(work, **count(contents))
