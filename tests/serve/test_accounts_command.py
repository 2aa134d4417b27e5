"""`siglip2 accounts`: what the operator can do without the service."""

import io
from datetime import UTC, datetime

import pytest
from sqlalchemy import text, update

from siglip2.cli.main import run
from siglip2.errors import InvalidInput
from siglip2.serve.accounts.database import Database
from siglip2.serve.accounts.ledger import MAX_BALANCE
from siglip2.serve.accounts.limits import read_limits
from siglip2.serve.accounts.passwords import find_by_password
from siglip2.serve.accounts.sessions import begin_session, find_session
from siglip2.serve.accounts.store import authenticate
from siglip2.serve.accounts.tables import ApiKey


@pytest.fixture
def told(database_url, capsys):
    """Run a command; what it printed."""

    def tell(*words):
        assert run(["accounts", *words, "--database", database_url]) == 0
        return capsys.readouterr().out.strip()

    return tell


@pytest.fixture
def database(told, database_url):
    told("create", "ada@example.org", "--credit", "500")
    opened = Database(database_url)
    yield opened
    opened.close()


def test_off_and_on_again(told, database):
    key = told("create-key", "ada@example.org")
    caller = authenticate(database, key)
    assert caller is not None
    assert caller.scopes == {"classify", "embed", "score", "search"}
    assert told("disable", "ada@example.org") == "ada@example.org is disabled"
    assert authenticate(database, key) is None
    assert told("list").splitlines()[1].split("\t") == ["1", "ada@example.org", "user", "500", "disabled"]
    told("enable", "ada@example.org")
    assert authenticate(database, key) is not None


def test_limits(told, database):
    told("limits", "ada@example.org", "--soft", "300", "--hard", "400")
    limits = read_limits(database, 1)
    assert (limits.soft, limits.hard) == (300, 400)
    assert told("limits", "ada@example.org").endswith("soft none, hard none")
    assert read_limits(database, 1).hard is None
    with pytest.raises(InvalidInput, match="0 to "):
        told("limits", "ada@example.org", "--hard", "-1")


def test_password_from_a_pipe_ends_sessions(told, database, monkeypatch):
    token = begin_session(database, 1)
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse battery\n"))
    assert "signed out everywhere" in told("password", "ada@example.org")
    assert find_by_password(database, "ada@example.org", "correct horse battery") == 1
    assert find_session(database, token) is None
    # Bytes that are no UTF-8 come as halves of characters where the environment names no language.
    no_text = io.TextIOWrapper(io.BytesIO(b"correct horse \xff\n"), "utf-8", "surrogateescape")
    for pipe, said in ((io.StringIO("short\n"), "at least"), (no_text, "valid Unicode")):
        monkeypatch.setattr("sys.stdin", pipe)
        with pytest.raises(InvalidInput, match=said):
            told("password", "ada@example.org")


def test_a_console_keeps_its_key(told, database):
    begin_session(database, 1)
    (line,) = told("list-keys", "ada@example.org").splitlines()[1:]
    assert "(console)" in line
    with pytest.raises(InvalidInput, match="console"):
        told("revoke-key", line.split("\t")[0])


def test_a_console_whose_key_was_revoked_gets_another(database):
    before = begin_session(database, 1)
    with database.transaction() as session:
        session.execute(update(ApiKey).values(revoked_at=datetime.now(UTC)))
    assert find_session(database, before) is None
    token = begin_session(database, 1)
    assert find_session(database, token) is not None
    assert authenticate(database, token) is not None


@pytest.mark.parametrize(
    "words",
    [
        ("create-key", "ada@example.org", "--requests-per-minute", "0"),
        ("create-key", "ada@example.org", "--requests-per-minute", "-5"),
        ("create-key", "ada@example.org", "--requests-per-minute", str(10**7)),
        ("create-key", "ada@example.org", "--days", "-5"),
        ("create-key", "ada@example.org", "--days", str(10**10)),
        ("create-key", "ada@example.org", "--name", "\udcff"),
        ("grant", "ada@example.org", "--credit", str(2**63 - 1)),
        ("grant", "ada@example.org", "--credit", str(10**20)),
        ("grant", "ada@example.org", "--credit", str(MAX_BALANCE)),  # beside what there is
        ("create", "bob@example.org", "--credit", str(10**20)),
        ("grant", "\udcff@example.org", "--credit", "1"),
        ("limits", "ada@example.org", "--soft", str(10**20)),
        ("limits", "ada@example.org", "--hard", str(2**63)),
        ("revoke-key", "²"),
        ("revoke-key", "9" * 20),
        ("revoke-key", "9" * 5000),
    ],
)
def test_numbers_out_of_range(told, database, words):
    with pytest.raises(InvalidInput):
        told(*words)
    assert told("list").splitlines()[1:] == ["1\tada@example.org\tuser\t500\tenabled"]
    assert told("list-keys", "ada@example.org").count("\n") == 0
    assert told("check") == "the ledger adds up"


def test_the_largest_balance(told, database):
    told("grant", "ada@example.org", "--credit", str(MAX_BALANCE - 500))
    assert told("check") == "the ledger adds up"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("foo", "is like sqlite"),
        ("foo://bar", "is like sqlite"),
        ("postgresql+psycopg://ada:secret@host:port/name", "is like sqlite"),
        ("mysql+mysqldb://host/name", "needs MySQLdb"),
        ("sqlite:////no/such/folder/accounts.sqlite", "cannot be opened"),
        ("postgresql+psycopg://ada:secret@127.0.0.1:1/name", "cannot be opened"),
    ],
)
def test_databases_that_are_not_there(url, message):
    if "psycopg" in url:
        pytest.importorskip("psycopg")
    with pytest.raises(InvalidInput, match=message) as caught:
        run(["accounts", "create", "ada@example.org", "--database", url])
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "notes.txt").write_text("no database" * 1000)
    with pytest.raises(InvalidInput, match="not a database"):
        run(["accounts", "list", "--database", f"sqlite:///{tmp_path / 'notes.txt'}"])


def test_a_database_of_a_newer_version(told, database, database_url):
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(InvalidInput, match="another version"):
        told("list")


def test_admins(told, database):
    told("create", "root@example.org", "--admin")
    roles = [line.split("\t")[2] for line in told("list").splitlines()[1:]]
    assert roles == ["user", "admin"]


def test_nobody_of_that_name(told, database):
    for action in ("grant", "disable", "limits", "password", "create-key", "list-keys", "usage"):
        with pytest.raises(InvalidInput, match="no account"):
            told(action, "bob@example.org")
    with pytest.raises(InvalidInput, match="say whose"):
        told("grant")
    with pytest.raises(InvalidInput, match="number"):
        told("revoke-key", "x")
