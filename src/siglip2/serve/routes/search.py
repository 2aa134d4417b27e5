"""`POST /v1/search`: photos and texts of mounted collections, by words, by example, or both."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import Response
from pydantic import ConfigDict, Field

from siglip2.errors import InvalidInput
from siglip2.search.filters import Filter
from siglip2.search.query import Term
from siglip2.search.rows import Hit
from siglip2.serve.contents import Content, TextInput, check_counts, check_texts, parse_content
from siglip2.serve.errors import ApiError, bad_request
from siglip2.serve.mounts import Mount, read_filter
from siglip2.serve.routes.answers import PIXEL, Listing, SearchAnswer
from siglip2.serve.routes.bodies import OneOrMany, RequestBody
from siglip2.serve.routes.sessions import sentence
from siglip2.serve.routes.shapes import Encoded, count, encode, new_id, now, usage_of
from siglip2.serve.service import Exchange, Service, allowed

router = APIRouter(tags=["search"])

MAX_RESULTS = 500
MAX_OFFSET = 100_000
MAX_TERMS = 32
THUMBNAIL_HEIGHT = 320

JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}, "description": "The photo."}}

Caller = Annotated[Exchange, Depends(allowed("search"))]


class SearchRequest(RequestBody):
    """What to find in a collection."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "collection": "photos",
                    "query": ["a red bicycle", {"image": PIXEL}],
                    "not": ["a car"],
                    "filters": ["taken>=2020-06"],
                    "limit": 5,
                }
            ]
        }
    )
    collection: str | None = Field(None, description="Its name; may be left out where there is only one.")
    query: OneOrMany = Field(description="A text, an image, or a list of these, all of which count.")
    not_: list[str] = Field([], alias="not", description="Texts that results should not fit.")
    filters: list[str] = Field([], description="`taken>=2020-06`, `camera~canon`, `price<20`; all hold.")
    limit: int = Field(20, ge=1, le=MAX_RESULTS)
    offset: int = Field(0, ge=0, le=MAX_OFFSET)
    text_weight: float = Field(1.0, gt=0, le=100, description="Of each text beside images.")
    image_weight: float = Field(1.0, gt=0, le=100, description="Of each image beside texts.")
    kind: Literal["image", "text"] | None = None
    min_probability: float = Field(0.0, ge=0, le=1)


@router.get("/v1/collections", response_model=Listing)
async def list_collections(exchange: Caller) -> dict[str, Any]:
    """The collections that can be searched."""
    mounts = exchange.service.mounts
    data = [
        {"id": each.name, "object": "collection", "model": each.model, "count": len(each.collection)}
        for each in mounts
    ]
    return {"object": "list", "data": data}


@router.post("/v1/search", response_model=SearchAnswer)
async def search(body: SearchRequest, exchange: Caller) -> Response:
    """Photos and texts that fit words, examples, or both, the best first.

    `probability` is the model's for the text and a photo; there is none between two photos.
    """
    mount = find_mount(exchange.service, body.collection, "collection")
    values = body.query if isinstance(body.query, list) else [body.query]
    wanted = [parse_content(value, f"query[{index}]") for index, value in enumerate(values)]
    unwanted = [TextInput(text, f"not[{index}]") for index, text in enumerate(body.not_)]
    check_counts(exchange.service.settings, wanted, "query")
    texts = [each for each in (*wanted, *unwanted) if isinstance(each, TextInput)]
    check_texts(exchange.service.settings, texts, "not")
    where = read_filters(body.filters, "filters")
    exchange = at_mount(exchange, mount)

    async def work() -> dict[str, Any]:
        hits, encoded = await find(exchange.service, mount, wanted, unwanted, where, body)
        return {
            "id": new_id("search"),
            "object": "list",
            "created": now(),
            "model": mount.model,
            "collection": mount.name,
            "data": [_entry(mount, index, hit) for index, hit in enumerate(hits)],
            "usage": usage_of(encoded),
        }

    return await exchange.charged(work, **count([*wanted, *unwanted]))


@router.get("/v1/collections/{name}/items/{item}/image", response_class=Response, responses=JPEG)
async def image(
    exchange: Caller,
    name: Annotated[str, Path(examples=["photos"])],
    item: Annotated[int, Path(ge=0, lt=2**63, examples=[1])],
    height: Annotated[int, Query(ge=16, le=2048)] = THUMBNAIL_HEIGHT,
) -> Response:
    """A photo of a collection as JPEG."""
    mount = find_mount(exchange.service, name, "name")
    data = await exchange.service.in_picture_thread(lambda: mount.picture(item, height))
    if data is None:
        raise ApiError(404, "invalid_request_error", "not_found", "There is no such photo.", param="item")
    headers = {**exchange.headers, "cache-control": "private, max-age=600"}
    return Response(data, media_type="image/jpeg", headers=headers)


async def find(
    service: Service,
    mount: Mount,
    wanted: list[Content],
    unwanted: list[TextInput],
    where: list[Filter],
    body: SearchRequest,
) -> tuple[list[Hit], Encoded]:
    """Embed the terms and search.

    Raises:
        ApiError: of reading, of the engine, or a least probability with several phrases.
    """
    encoded = await encode(service, [*wanted, *unwanted])
    terms = [
        Term(vector, body.text_weight if isinstance(content, TextInput) else body.image_weight, is_text)
        for vector, content in zip(encoded.embeddings, [*wanted, *unwanted], strict=True)
        for is_text in (isinstance(content, TextInput),)
    ]
    try:
        hits = await mount.search(
            terms[: len(wanted)],
            terms[len(wanted) :],
            where=where,
            limit=body.limit,
            offset=body.offset,
            kind=body.kind,
            min_probability=body.min_probability,
        )
    except InvalidInput as error:
        raise bad_request(sentence(error), "min_probability") from None
    return hits, encoded


def find_mount(service: Service, name: str | None, param: str) -> Mount:
    """The collection of a name, or the only one.

    Raises:
        ApiError: 404, there is none of that name; 400, no name and several.
    """
    mounts = list(service.mounts)
    if name is None and len(mounts) == 1:
        return mounts[0]
    if name is None and mounts:
        raise bad_request("Name a collection: GET /v1/collections lists them.", param, "missing")
    mount = service.mounts.get(name) if name is not None else None
    if mount is None:
        raise ApiError(
            404, "invalid_request_error", "collection_not_found", "There is no such collection.", param=param
        )
    return mount


def at_mount(exchange: Exchange, mount: Mount) -> Exchange:
    """The exchange with the model that made the collection's vectors.

    Raises:
        ApiError: 409, the model was loaded anew and is another one now.
    """
    bound = exchange.with_model(mount.model)
    if bound.service.engine.encoder.fingerprint != mount.collection.model.fingerprint:
        raise ApiError(
            409,
            "invalid_request_error",
            "collection_outdated",
            "The model has changed since the collection was made; its operator has to embed it again.",
            headers={"x-should-retry": "false"},
        )
    return bound


def read_filters(texts: list[str], param: str) -> list[Filter]:
    """The filters of a request.

    Raises:
        ApiError: 400, too many, or one that cannot be read.
    """
    if len(texts) > MAX_TERMS:
        raise bad_request(f"At most {MAX_TERMS} filters go in one request.", param)
    filters = []
    for index, text in enumerate(texts):
        try:
            filters.append(read_filter(text))
        except InvalidInput as error:
            raise bad_request(sentence(error), f"{param}[{index}]") from None
    return filters


def name_of(hit: Hit) -> str:
    """The file's name without its folders, which are the server's own; a text's beginning."""
    if hit.path is None:
        return (hit.row.text or "")[:80]
    return hit.path.replace("\\", "/").rsplit("/", 1)[-1].encode(errors="replace").decode()


def _entry(mount: Mount, index: int, hit: Hit) -> dict[str, Any]:
    row, facts = hit.row, hit.row.facts
    shown = f"/v1/collections/{mount.name}/items/{row.id}/image" if row.kind == "image" else None
    return {
        "object": "search.result",
        "index": index,
        "id": row.id,
        "kind": row.kind,
        "name": name_of(hit),
        "score": hit.score,
        "cosine": hit.cosine,
        "logit": hit.logit,
        "probability": hit.probability,
        "text": row.text,
        "image_path": shown,
        "width": facts.width,
        "height": facts.height,
        "taken_at": facts.taken_at,
        "latitude": facts.latitude,
        "longitude": facts.longitude,
        "camera": facts.camera,
        "columns": dict(row.columns),
    }
