"""Requests spoilt at random: refused with an error object or answered, never a failure of the server."""

import json
import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select
from tests.serve.mutations import spoilt

from siglip2.serve.accounts.ledger import find_errors
from siglip2.serve.accounts.store import create_account, create_key
from siglip2.serve.accounts.tables import Account, Hold, Usage

CREDIT = 10**12
LEAKS = ("Traceback", "site-packages", "sqlite", "siglip2/", 'File "', "0x7f", "Error(")


class Kept(logging.Handler):
    """Everything that is logged."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record):
        self.lines.append(logging.Formatter().format(record))


@pytest.fixture
def logged():
    kept = Kept()
    loggers = [logging.getLogger(name) for name in ("siglip2", "uvicorn", "uvicorn.error", "uvicorn.access")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(kept)
        logger.setLevel(logging.DEBUG)
    yield kept
    for logger, level in zip(loggers, levels, strict=True):
        logger.removeHandler(kept)
        logger.setLevel(level)


def check(answer, request, key):
    where = (
        f"{request.method} {request.path} {request.content[:300]} {answer.status_code} {answer.text[:300]}"
    )
    assert answer.status_code < 500, where
    assert key not in answer.text, where
    if answer.status_code < 400 or request.method == "HEAD":
        return
    error = json.loads(answer.content)["error"]
    assert set(error) == {"message", "type", "param", "code"}, where
    assert error["message"], where
    assert not any(leak in error["message"] for leak in LEAKS), where


def send_all(server, seeds, logged, email):
    create_account(server.database, email, credit=CREDIT)
    key = create_key(server.database, email, "mutations")

    def send(part):
        statuses = []
        with server.client() as client:
            for seed in part:
                request = spoilt(seed)
                headers = {"Authorization": f"Bearer {key}", **request.headers}
                answer = client.request(
                    request.method, request.path, content=request.content, headers=headers
                )
                check(answer, request, key)
                statuses.append(answer.status_code)
        return statuses

    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(send, [seeds[start::4] for start in range(4)]))
    statuses = [status for part in parts for status in part]
    # The requests are neither harmless nor hopeless.
    assert 0.02 < sum(status == 200 for status in statuses) / len(statuses) < 0.6
    assert {400, 404, 405, 422} <= set(statuses)
    text = "\n".join(logged.lines)
    assert key not in text
    assert "failed" not in text
    with server.client() as client:
        assert key not in client.get("/metrics").text
        assert client.get("/health").status_code == 200
    with server.database.reading() as session:
        account = session.scalars(select(Account).where(Account.email == email)).one()
        paid = session.scalar(select(func.sum(Usage.cost)).where(Usage.account_id == account.id))
        assert find_errors(session) == []
        assert session.query(Hold).count() == 0
    assert account.balance == CREDIT - paid


def test_parts_within_parts(client):
    nested = "a"
    for _ in range(300):
        nested = {"content": [nested]}
    answer = client.post("/v1/embeddings", json={"input": [nested]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_value")


def test_mutated_requests(server, logged):
    send_all(server, range(2000), logged, "mutations@example.org")


@pytest.mark.slow
def test_ten_thousand_mutated_requests(server, logged):
    send_all(server, range(10_000, 20_000), logged, "more-mutations@example.org")
