"""Charged requests under every misfortune: clients that leave, ask again and race, a server that is killed.

Every request has an idempotency key. What must hold in the end is read from the database: nobody has paid for
what cannot be had, and nobody has had what was not paid. A long storm can come in pieces, on one database:

    for seed in 1 2 3 4 5; do python -m tests.serve.chaos FOLDER sqlite:///FOLDER/a.sqlite 20000 4 $seed; done
"""

import asyncio
import json
import random
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import func, select

from siglip2.serve.accounts.charging import release_all
from siglip2.serve.accounts.database import Database
from siglip2.serve.accounts.ledger import find_errors
from siglip2.serve.accounts.store import count_accounts, create_account, create_key
from siglip2.serve.accounts.tables import Account, Answer, Entry, Hold, Usage

CREDIT = 10**12
TEXT_PRICE = 10
WORKERS = 16
SECONDS = 60

SERVER = """
import socket, sys
from pathlib import Path
import uvicorn
from tests.tiny_model import tiny_encoder
from siglip2.serve.app import create_app
from siglip2.serve.settings import ServeSettings
folder, url, listener = Path(sys.argv[1]), sys.argv[2], socket.socket(fileno=int(sys.argv[3]))
settings = ServeSettings(database=url, model="tiny", requests_per_minute=10**8)
app = create_app(settings, encoder=tiny_encoder(folder))
server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
server.run(sockets=[listener])
"""


@dataclass
class Service:
    """A server process that can be killed and started again; its port stays open meanwhile."""

    folder: Path
    url: str
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    process: subprocess.Popen | None = None

    def start(self) -> None:
        number = self.listener.fileno()
        command = [sys.executable, "-c", SERVER, str(self.folder), self.url, str(number)]
        root = Path(__file__).parents[2]
        self.process = subprocess.Popen(command, pass_fds=[number], cwd=root)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    @property
    def port(self) -> int:
        return self.listener.getsockname()[1]


@dataclass
class Caller:
    """A connection that is opened again whenever it breaks."""

    port: int
    key: str
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None

    async def ask(self, name: str, body: bytes) -> tuple[int, bytes]:
        """Status and content.

        Raises:
            OSError: the connection broke; whether the request was served nobody knows.
        """
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        assert self.reader is not None
        head = (
            f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.key}\r\n"
            f"Idempotency-Key: {name}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self.writer.write(head.encode() + body)
        try:
            lines = (await self.reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
            length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
            return int(lines[0].split()[1]), await self.reader.readexactly(length)
        except (asyncio.IncompleteReadError, StopIteration) as error:
            raise ConnectionError from error

    def leave(self) -> None:
        """Break the connection, whatever is on its way."""
        if self.writer is not None:
            self.writer.transport.abort()
        self.reader = self.writer = None


@dataclass
class Outcome:
    """What the clients saw: answers by the names of requests, and how often what happened."""

    answers: dict[str, bytes] = field(default_factory=dict)
    seen: Counter = field(default_factory=Counter)

    def note(self, name: str, content: bytes) -> None:
        assert self.answers.setdefault(name, content) == content, "two answers to one request"


async def insist(caller: Caller, name: str, body: bytes, outcome: Outcome) -> None:
    """Ask until there is an answer, as clients with retries do."""
    until = time.monotonic() + SECONDS
    while True:
        assert time.monotonic() < until, f"no answer: {outcome.seen}"
        try:
            status, content = await asyncio.wait_for(caller.ask(name, body), SECONDS)
        except OSError:
            caller.leave()
            outcome.seen["broken connections"] += 1
            await asyncio.sleep(0.01)
            continue
        outcome.seen[status] += 1
        if status == 200:
            outcome.note(name, content)
            return
        assert status in (409, 503), (status, content)
        await asyncio.sleep(0.01)


async def one(callers: list[Caller], name: str, chance: random.Random, outcome: Outcome) -> None:
    """One request with its fate."""
    body = json.dumps({"input": chance.choice("abcdefgh")}).encode()
    fate = chance.random()
    if fate < 0.2:  # leaves early, and never asks again
        outcome.seen["left"] += 1
        try:
            _, content = await asyncio.wait_for(callers[0].ask(name, body), chance.uniform(0, 0.3))
            outcome.note(name, content)
        except (TimeoutError, OSError):
            callers[0].leave()
        return
    if fate < 0.3:  # leaves early, and asks again
        outcome.seen["asked again"] += 1
        try:
            await asyncio.wait_for(callers[0].ask(name, body), chance.uniform(0, 0.3))
        except (TimeoutError, OSError):
            callers[0].leave()
    racing = 3 if fate > 0.85 else 1
    outcome.seen["raced"] += racing > 1
    await asyncio.gather(*(insist(caller, name, body, outcome) for caller in callers[:racing]))
    if 0.3 <= fate < 0.35:  # a request that is wrong, under a name of its own
        status, _ = await callers[0].ask(f"{name}-wrong", b'{"input": ""}')
        assert status == 400


async def storm(
    service: Service, database: Database, key: str, requests: int, kills: int, seed: int
) -> Outcome:
    """Send all requests, and kill the server evenly among them."""
    outcome, numbers = Outcome(), iter(range(requests))
    due = [requests * (kill + 1) // (kills + 1) for kill in range(kills)]

    async def work(worker: int) -> None:
        chance = random.Random(seed * 1000 + worker)
        callers = [Caller(service.port, key) for _ in range(3)]
        for number in numbers:
            if due and number >= due[0]:
                due.pop(0)
                await asyncio.to_thread(service.kill)
                # As a server on SQLite does itself; where several share a database, its operator has to.
                await asyncio.to_thread(release_all, database)
                service.start()
            try:
                await one(callers, f"{seed}-{number}", chance, outcome)
            except OSError:  # the wrong request met a dead server
                callers[0].leave()
        for caller in callers:
            caller.leave()

    async with asyncio.TaskGroup() as group:
        for worker in range(WORKERS):
            group.create_task(work(worker))
    return outcome


def check(database: Database, outcome: Outcome) -> Counter:
    """Everything that must hold; how many requests ended how."""
    with database.reading() as session:
        assert find_errors(session) == []
        assert session.query(Hold).count() == 0
        rows = session.execute(select(Answer.idempotency_key, Answer.body)).all()
        kept = {row[0]: row[1] for row in rows}
        revenue = session.scalar(select(func.sum(Entry.amount)).where(Entry.book == "revenue")) or 0
        held = session.scalar(select(func.sum(Entry.amount)).where(Entry.book == "held")) or 0
        balance = session.scalars(select(Account.balance)).one()
        used = session.execute(select(func.count(Usage.id), func.sum(Usage.cost))).one()
    # No charge without an answer that can be had by its name ...
    assert all(body is not None for body in kept.values())
    assert revenue == TEXT_PRICE * len(kept) == CREDIT - balance
    assert tuple(used) == (len(kept), revenue)
    assert held == 0
    # ... and no answer that was not charged, nor another than the one that was.
    for name, content in outcome.answers.items():
        assert kept[name] == content
    assert not any(name.endswith("-wrong") for name in kept)
    return Counter(answered=len(outcome.answers), charged=len(kept))


def run(folder: Path, url: str, *, requests: int, kills: int, seed: int = 0) -> tuple[Counter, Outcome]:
    """The whole of it: database, server, clients, and the reckoning, of earlier storms' requests as well."""
    database = Database(url)
    database.migrate()
    if not count_accounts(database):
        create_account(database, "ada@example.org", credit=CREDIT)
    key = create_key(database, "ada@example.org", "chaos")
    service = Service(folder, url)
    service.start()
    try:
        outcome = asyncio.run(storm(service, database, key, requests, kills, seed))
        service.kill()  # for the last time, with the work of those who left perhaps half done
    finally:
        if service.process is not None and service.process.poll() is None:
            service.kill()
        service.listener.close()
    release_all(database)
    try:
        return check(database, outcome), outcome
    finally:
        database.close()


if __name__ == "__main__":
    where, database_url, number, deaths, storm_seed = sys.argv[1:]
    began = time.monotonic()
    Path(where).mkdir(parents=True, exist_ok=True)
    ended, seen = run(
        Path(where), database_url, requests=int(number), kills=int(deaths), seed=int(storm_seed)
    )
    print(json.dumps({**ended, "seconds": round(time.monotonic() - began)}), dict(seen.seen))
