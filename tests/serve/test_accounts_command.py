"""`siglip2 accounts`: what the operator can do without the service."""

import io
from datetime import UTC, datetime

import pytest
from sqlalchemy import update

from siglip2.cli.main import run
from siglip2.errors import InvalidInput
from siglip2.serve.accounts.database import Database
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
    with pytest.raises(InvalidInput, match="0 or more"):
        told("limits", "ada@example.org", "--hard", "-1")


def test_password_from_a_pipe_ends_sessions(told, database, monkeypatch):
    token = begin_session(database, 1)
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse battery\n"))
    assert "signed out everywhere" in told("password", "ada@example.org")
    assert find_by_password(database, "ada@example.org", "correct horse battery") == 1
    assert find_session(database, token) is None
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    with pytest.raises(InvalidInput, match="password"):
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
