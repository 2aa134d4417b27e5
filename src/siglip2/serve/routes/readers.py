"""Who reads what an account has used: the same keys, within the same rates as those who ask models."""

from typing import Annotated

from fastapi import Depends, Response
from starlette.requests import Request

from siglip2.serve.accounts.store import Caller
from siglip2.serve.service import find_caller, service_of


async def reader(
    request: Request, response: Response, caller: Annotated[Caller, Depends(find_caller)]
) -> Caller:
    """A dependency: the caller, counted as a request of its key.

    Raises:
        ApiError: 401 without a valid key, 429 beyond its rate.
    """
    headers = await service_of(request).rates.hit(caller)
    request.state.headers = headers  # for an answer that fails
    response.headers.update(headers)
    return caller
