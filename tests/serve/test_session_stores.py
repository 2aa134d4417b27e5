"""Accounts, sessions and keys side by side, on SQLite and on PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from siglip2.errors import InvalidInput
from siglip2.serve.accounts.account_keys import CONSOLE, MAX_KEYS, add_key, list_keys
from siglip2.serve.accounts.database import Database
from siglip2.serve.accounts.history import list_entries
from siglip2.serve.accounts.passwords import find_by_password
from siglip2.serve.accounts.sessions import begin_session, end_other_sessions, find_session
from siglip2.serve.accounts.store import EmailTaken, authenticate, create_account, grant


@pytest.fixture
def database(database_url):
    opened = Database(database_url)
    opened.migrate()
    yield opened
    opened.close()


def test_sign_ups_and_sign_ins_at_once(database):
    def sign_up(_):
        try:
            return create_account(database, "ada@example.org", credit=500)
        except EmailTaken:
            return None

    with ThreadPoolExecutor(6) as pool:
        made = [number for number in pool.map(sign_up, range(6)) if number is not None]
        (account_id,) = made
        tokens = list(pool.map(lambda _: begin_session(database, account_id), range(6)))
    keys = list_keys(database, account_id)
    assert [key.shown for key in keys] == [CONSOLE]
    caller = authenticate(database, tokens[0])
    assert caller is not None
    assert (caller.account_id, caller.key_id) == (account_id, keys[0].id)
    (line,) = list_entries(database, account_id, 10)
    assert (line.amount, line.balance, line.reason) == (500, 500, "sign-up")
    grant(database, "ada@example.org", 7)
    assert [each.balance for each in list_entries(database, account_id, 10)] == [507, 500]


def test_one_session_instead_of_another(database):
    account_id = create_account(database, "ada@example.org")
    first = begin_session(database, account_id)
    second = begin_session(database, account_id, instead_of=first)
    third = begin_session(database, account_id)
    assert find_session(database, first) is None
    kept = find_session(database, second)
    assert kept is not None
    end_other_sessions(database, account_id, kept.session_id)
    assert find_session(database, third) is None
    assert find_session(database, second) == kept
    assert authenticate(database, "sgs_nonsense") is None


def test_no_account_has_nul_in_its_address(database):
    """PostgreSQL cannot even be asked for one."""
    create_account(database, "ada@example.org", password="correct horse")
    assert find_by_password(database, "ada@example.org", "correct horse") == 1
    assert find_by_password(database, "ada@example.org\0", "correct horse") is None


def test_keys_have_a_bound(database):
    account_id = create_account(database, "ada@example.org")
    with database.transaction() as session:
        for _ in range(MAX_KEYS):
            add_key(session, account_id, "key")
        with pytest.raises(InvalidInput, match="at most"):
            add_key(session, account_id, "key")
