"""Failures as callers see them: OpenAI's error object, with the copies that other clients read.

No text of an exception gets into an answer: it may hold paths, addresses of memory or of machines.
"""

from collections.abc import Mapping
from typing import Any

MAX_RETRY_AFTER = 120
"""OpenAI's client gives up where a server asks for more seconds."""


class ApiError(Exception):
    """A failure with a status, a sentence and the words that programs look for.

    Attributes:
        status: HTTP status.
        type: OpenAI's family of the failure.
        code: what exactly.
        message: a sentence for people.
        param: JSON path of what is wrong in the request.
        headers: for the answer.
    """

    def __init__(
        self,
        status: int,
        type_: str,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(message)
        self.status = status
        self.type = type_
        self.code = code
        self.message = message
        self.param = param
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """OpenAI's object; `message` is what Cohere's client reads, `detail` what Voyage's and Jina's do."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": error, "message": self.message, "detail": self.message}


def bad_request(message: str, param: str | None = None, code: str = "invalid_value") -> ApiError:
    """400: the request is wrong and the same request will be wrong again."""
    return ApiError(400, "invalid_request_error", code, message, param=param)


def too_large(message: str, param: str | None = None, code: str = "request_too_large") -> ApiError:
    """413: a limit on size."""
    return ApiError(413, "invalid_request_error", code, message, param=param)


def unusable_image(message: str, param: str | None, code: str = "image_decode_failed") -> ApiError:
    """422: the image named by the caller cannot be had or read. Not retryable."""
    return ApiError(422, "invalid_request_error", code, message, param=param)


def unauthorized(message: str) -> ApiError:
    """401: no key, or none that is good."""
    headers = {"www-authenticate": "Bearer"}
    return ApiError(401, "authentication_error", "invalid_api_key", message, headers=headers)


def overloaded(
    message: str = "The server has as much work as it can hold; try again shortly.", seconds: float = 0.0
) -> ApiError:
    """503: the server's queue is full, for so many seconds. 429 is for limits of the caller."""
    wait = min(MAX_RETRY_AFTER, max(1, round(seconds + 0.5)))
    headers = {"retry-after": str(wait), "x-should-retry": "true"}
    return ApiError(503, "overloaded_error", "overloaded", message, headers=headers)


def rate_limited(seconds: float) -> ApiError:
    """429: the key's own limit."""
    wait = min(MAX_RETRY_AFTER, max(1, round(seconds + 0.5)))
    return ApiError(
        429,
        "rate_limit_error",
        "rate_limit_exceeded",
        f"This key has reached its requests per minute; try again in {wait} s.",
        headers={"retry-after": str(wait), "x-should-retry": "true"},
    )


def out_of_credit() -> ApiError:
    """429 as OpenAI answers; trying again does not help."""
    return ApiError(
        429,
        "insufficient_quota",
        "insufficient_quota",
        "The account's credit does not cover this request.",
        headers={"x-should-retry": "false"},
    )


def over_hard_limit() -> ApiError:
    """429: the month's limit that the owner of the account or of the key has set."""
    return ApiError(
        429,
        "insufficient_quota",
        "insufficient_quota",
        "This request would go beyond the monthly limit of the account or of its key; the month is UTC's.",
        headers={"x-should-retry": "false"},
    )


def internal_error() -> ApiError:
    """500 without a word of what went wrong: that is in the log, under the request id."""
    return ApiError(
        500, "server_error", "internal_error", "The server failed; the request id is in the headers."
    )


def timed_out(seconds: float) -> ApiError:
    """504: the server's own deadline."""
    return ApiError(
        504,
        "timeout_error",
        "request_timeout",
        f"The request was not done within {seconds:g} s; send less at a time.",
        headers={"x-should-retry": "false"},
    )
