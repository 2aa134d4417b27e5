"""`POST /v1/vector_stores/{name}/search`: mounted collections for OpenAI's client."""

from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import Response
from pydantic import ConfigDict, Field

from siglip2.serve.contents import check_counts, parse_content
from siglip2.serve.routes.answers import VectorStorePage
from siglip2.serve.routes.bodies import RequestBody
from siglip2.serve.routes.search import Caller, SearchRequest, at_mount, find, find_mount, name_of
from siglip2.serve.routes.shapes import count
from siglip2.serve.service import Exchange

router = APIRouter(tags=["search"])


class VectorStoreSearch(RequestBody):
    """OpenAI's request; its filters have another language and are refused."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"query": "a red bicycle"}]})
    query: str | list[str]
    max_num_results: int = Field(10, ge=1, le=50)
    filters: None = Field(None, description="Use /v1/search for filters.")


@router.post("/v1/vector_stores/{name}/search", response_model=VectorStorePage)
async def search(
    body: VectorStoreSearch, exchange: Caller, name: Annotated[str, Path(examples=["photos"])]
) -> Response:
    """Rows of a collection that fit one text or several."""
    mount = find_mount(exchange.service, name, "name")
    texts = [body.query] if isinstance(body.query, str) else body.query
    wanted = [parse_content({"text": text}, f"query[{index}]") for index, text in enumerate(texts)]
    check_counts(exchange.service.settings, wanted, "query")
    bound: Exchange = at_mount(exchange, mount)
    asked = SearchRequest(query=texts, limit=body.max_num_results)  # pyright: ignore[reportCallIssue]

    async def work() -> dict[str, Any]:
        hits, _ = await find(bound.service, mount, wanted, [], [], asked)
        return {
            "object": "vector_store.search_results.page",
            "search_query": texts,
            "data": [
                {
                    "file_id": str(hit.row.id),
                    "filename": name_of(hit),
                    "score": hit.score,
                    "attributes": {key: value for key, value in hit.row.columns.items() if value is not None},
                    "content": [{"type": "text", "text": hit.row.text}] if hit.row.text else [],
                }
                for hit in hits
            ],
            "has_more": False,
            "next_page": None,
        }

    return await bound.charged(work, **count(wanted))
