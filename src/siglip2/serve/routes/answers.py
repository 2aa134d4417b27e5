"""What routes answer, for the OpenAPI document. Clients have to put up with further fields."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class ErrorObject(BaseModel):
    """OpenAI's error."""

    message: str = Field(examples=["Field required."])
    type: str = Field(examples=["invalid_request_error"])
    param: str | None = Field(examples=["input[0].image"], description="JSON path in the request.")
    code: str = Field(examples=["missing"])


class ErrorAnswer(BaseModel):
    """Every failure of every route; `message` and `detail` are copies for Cohere's and Voyage's clients."""

    error: ErrorObject
    message: str
    detail: str


class TokenDetails(BaseModel):
    """Where the tokens come from."""

    text_tokens: int = Field(examples=[6])
    image_tokens: int = Field(examples=[256], description="Patches.")
    cached_tokens: int = Field(examples=[0], description="Tokens of texts that were not computed anew.")


class TokenUsage(BaseModel):
    """Tokens that were read."""

    prompt_tokens: int = Field(examples=[262])
    total_tokens: int = Field(examples=[262])
    prompt_tokens_details: TokenDetails


class Prediction(BaseModel):
    """A label for an image."""

    label: str = Field(examples=["cat"])
    score: float = Field(
        examples=[0.97], description="Softmax over the labels; with multi_label the probability."
    )
    probability: float = Field(
        examples=[0.41], description="Sigmoid of the logit, whatever the other labels are."
    )
    logit: float = Field(examples=[-0.36])


class Classification(BaseModel):
    """One image; the first four are null where no label reaches the threshold."""

    object: Literal["classification"]
    index: int
    prediction: str | None = Field(examples=["cat"])
    label: str | None = Field(examples=["cat"])
    score: float | None = Field(examples=[0.97])
    predictions: list[Prediction]
    probs: list[float] = Field(description="Scores in the order of the labels.")
    num_classes: int


class ClassifyAnswer(BaseModel):
    """Labels for images."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    score_type: Literal["softmax", "probability"]
    data: list[Classification]
    usage: TokenUsage


class Embedding(BaseModel):
    """A unit vector, or its little-endian float32 in base64."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingsAnswer(BaseModel):
    """Unit vectors in the order of the inputs."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[Embedding]
    usage: TokenUsage


class CohereAnswer(BaseModel):
    """Vectors by type."""

    id: str
    response_type: Literal["embeddings_by_type"]
    embeddings: dict[str, list[Any]]
    texts: list[str]
    images: list[dict[str, Any]] = Field(description="Of each: width, height, format, bit_depth.")
    meta: dict[str, Any]


class VoyageAnswer(BaseModel):
    """Vectors in Voyage's shape."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: dict[str, int]


class Score(BaseModel):
    """One pair."""

    index: int
    object: Literal["score"]
    score: float


class ScoreAnswer(BaseModel):
    """Scores of pairs."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    score_type: Literal["probability", "cosine", "logit"]
    data: list[Score]
    usage: TokenUsage


class RankedDocument(BaseModel):
    """A document, the best first."""

    index: int
    relevance_score: float = Field(description="A probability.")
    cosine: float
    logit: float
    document: dict[str, str] | None = None


class RerankAnswer(BaseModel):
    """Documents in order."""

    id: str
    object: Literal["rerank"]
    model: str
    results: list[RankedDocument]
    meta: dict[str, Any]
    usage: TokenUsage
    data: list[RankedDocument] | None = Field(None, description="The same for Voyage's client.")


class ChatAnswer(BaseModel):
    """OpenAI's chat completion; all scores stand in `classification`. With `stream` its events."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: dict[str, Any]
    classification: dict[str, Any]


class LabelSetAnswer(BaseModel):
    """Labels under a name."""

    id: str = Field(examples=["pets"])
    object: Literal["label_set"]
    name: str
    created: int
    labels: list[str | dict[str, Any]]
    template: str | None
    num_prompts: int | None = None


class LabelSetEntry(BaseModel):
    """A label set in a list."""

    id: str = Field(examples=["pets"])
    object: Literal["label_set"]
    name: str
    created: int
    num_labels: int


class LabelSetPage(BaseModel):
    """Label sets by name."""

    object: Literal["list"]
    data: list[LabelSetEntry]
    has_more: bool


class Deleted(BaseModel):
    """What is gone."""

    id: str
    object: str
    deleted: bool


class SearchResult(BaseModel):
    """A photo or text of a collection."""

    object: Literal["search.result"]
    index: int
    id: int
    kind: Literal["image", "text"]
    name: str = Field(examples=["bicycle.jpg"])
    score: float
    cosine: float
    logit: float | None
    probability: float | None = Field(description="Of the text and a photo; null between two of a kind.")
    text: str | None
    image_path: str | None
    width: int | None
    height: int | None
    taken_at: str | None
    latitude: float | None
    longitude: float | None
    camera: str | None
    columns: dict[str, Any]


class SearchAnswer(BaseModel):
    """What was found, the best first."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    collection: str
    data: list[SearchResult]
    usage: TokenUsage


class VectorStorePage(BaseModel):
    """OpenAI's page of search results."""

    object: Literal["vector_store.search_results.page"]
    search_query: list[str]
    data: list[dict[str, Any]]
    has_more: bool
    next_page: str | None


class ModelEntry(BaseModel):
    """A served model: OpenAI's four fields, and what it can do."""

    model_config = ConfigDict(extra="allow")
    id: str = Field(examples=["nano"])
    object: Literal["model"]
    created: int
    owned_by: str


class Listing(BaseModel):
    """A list without pages."""

    object: Literal["list"]
    data: list[dict[str, Any]]


class Bucket(BaseModel):
    """A day."""

    object: Literal["bucket"]
    start_time: int
    end_time: int
    results: list[dict[str, Any]]


class Page(BaseModel):
    """Days of usage or costs."""

    object: Literal["page"]
    data: list[Bucket]
    has_more: bool
    next_page: str | None


class Reloaded(BaseModel):
    """A model that was loaded anew."""

    id: str
    object: Literal["model.reloaded"]
    fingerprint: str


class Status(BaseModel):
    """All is well."""

    status: Literal["ok", "ready"]


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The failures of a route, for its `responses`."""
    answers: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorAnswer, "description": REASONS[status]} for status in statuses
    }
    for status in {429, 503}.intersection(statuses):
        answers[status]["headers"] = RETRY
    return answers


RETRY = {
    "retry-after": {
        "description": "Seconds, at most 120; not with insufficient_quota.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 120},
    },
    "x-should-retry": {
        "description": "Whether the same request may succeed later.",
        "schema": {"type": "string", "enum": ["true", "false"]},
    },
}
"""What the failures say that time may mend."""

ABOUT = """Classify, embed and compare images and texts, in the shapes of existing clients.

Every answer carries `x-request-id` (the caller's own, if it sent one of letters, digits and dashes) and
`Server-Timing`. Answers that count as requests of a key carry `x-ratelimit-limit-requests`,
`x-ratelimit-remaining-requests` and `x-ratelimit-reset-requests`; those that are charged carry
`x-credits-cost` and `x-credits-remaining`, in micro-units. With an `Idempotency-Key` a request that is sent
again is paid once."""


REASONS = {
    400: "The request is wrong; `param` says where.",
    401: "No key, or none that is good.",
    403: "The key may not do this.",
    404: "There is no such model, label set or collection.",
    409: "In conflict with a request that is being answered, or with how things are.",
    413: "Too large.",
    422: "The image cannot be had or read.",
    429: "The key's limits, or the account's credit.",
    500: "The server's fault.",
    503: "The server has as much work as it can hold; `retry-after` says when to come again.",
    504: "The server's deadline.",
}
"""Statuses of failures."""

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAA"
    "AElFTkSuQmCC"
)
"""A picture of one pixel, for examples that can be sent as they stand."""
