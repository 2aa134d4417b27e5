"""Opening the database of accounts, and bringing it to the current shape."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Lock

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import Session

from siglip2.errors import InvalidInput

BUSY_SECONDS = 30

EXAMPLES = (
    "the URL of a database is like sqlite:///accounts.sqlite or postgresql+psycopg://USER:PASSWORD@HOST/NAME"
)


class Database:
    """SQLite or PostgreSQL behind one door."""

    def __init__(self, url: str):
        """Get ready; nothing is opened yet.

        Raises:
            InvalidInput: the URL cannot be read, or needs what is not installed.
        """
        self.url = url
        self.engine = _open(url)
        # SQLite lets one writer in and has the others ask again after ever longer sleeps: here they queue.
        self._turn = Lock() if self.engine.dialect.name == "sqlite" else nullcontext()

    def exists(self) -> bool:
        """Whether there is a SQLite file, which opening would make; servers say so themselves."""
        name = self.engine.url.database or ""
        return self.engine.dialect.name != "sqlite" or name.startswith("file:") or Path(name).exists()

    def migrate(self) -> None:
        """Bring an empty or older database to the current shape.

        Raises:
            InvalidInput: it cannot be opened, or is that of a newer version.
        """
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        try:
            connection = self.engine.connect()
        except DBAPIError as error:
            reason = " ".join(str(error.orig).split())
            raise InvalidInput(f"the database {shown(self.url)} cannot be opened: {reason}") from error
        with connection:
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise InvalidInput(f"{shown(self.url)} belongs to another version: {error}") from error
            connection.commit()

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session that is committed at the end, or rolled back whole."""
        with self._turn, Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that only reads, and waits for no writer."""
        engine = self.engine.execution_options(reading=True)
        with Session(engine, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Give back the connections."""
        self.engine.dispose()


def shown(url: str) -> str:
    """A database's URL without its password."""
    return make_url(url).render_as_string(hide_password=True)


def _open(url: str) -> Engine:
    try:
        return _engine(url)
    except (ArgumentError, ValueError) as error:
        raise InvalidInput(f"{EXAMPLES}; what was given cannot be read") from error
    except ModuleNotFoundError as error:
        raise InvalidInput(f"{EXAMPLES}; this one needs {error.name}, see siglip2[postgresql]") from error


def _engine(url: str) -> Engine:
    if make_url(url).get_backend_name() != "sqlite":
        # Parameters are hashes, names and answers of people: errors, and so logs, do without them.
        return create_engine(url, pool_pre_ping=True, hide_parameters=True)
    if make_url(url).database in (None, "", ":memory:"):
        raise InvalidInput(f"{url} is a database in memory, which threads cannot share: name a file")
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def on_connect(connection: object, _: object) -> None:
        # The driver's own way of beginning transactions is switched off; see on_begin.
        connection.isolation_level = None  # pyright: ignore[reportAttributeAccessIssue]
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")  # pyright: ignore[reportAttributeAccessIssue]

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        # Takes the one writer's place at once: a transaction that began by reading could lose it halfway.
        reading = connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine
