"""Migrations make the tables that the code has, from every earlier shape, and back; on both databases."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from siglip2.serve.accounts import database as database_module
from siglip2.serve.accounts.account_keys import last_days
from siglip2.serve.accounts.database import Database
from siglip2.serve.accounts.history import list_entries
from siglip2.serve.accounts.label_sets import StoredLabelSets
from siglip2.serve.accounts.ledger import find_errors
from siglip2.serve.accounts.limits import read_limits
from siglip2.serve.accounts.store import grant
from siglip2.serve.accounts.tables import Entry, Table

SCRIPTS = Path(database_module.__file__).parent / "migrations"
ROW = text(
    "INSERT INTO accounts (id, email, role, active, balance, created_at)"
    " VALUES (1, 'ada@example.org', 'user', true, 0, '2026-01-01 00:00:00')"
)


@pytest.fixture
def database(database_url):
    opened = Database(database_url)
    yield opened
    opened.close()


def go(database, revision, way=command.upgrade):
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    with database.engine.connect() as connection:
        config.attributes["connection"] = connection
        way(config, revision)
        connection.commit()


def test_nothing_is_left_to_generate(database):
    database.migrate()
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Table.metadata) == []


def test_an_older_database_keeps_its_rows(database):
    go(database, "0001")
    with database.engine.begin() as connection:
        connection.execute(ROW)
    database.migrate()
    assert grant(database, "ada@example.org", 5) == 5
    with pytest.raises(DBAPIError), database.engine.begin() as connection:
        connection.execute(text("DELETE FROM entries"))  # the triggers came along


def test_days_are_summed_from_the_usage_so_far(database):
    today = datetime.now(UTC).date().isoformat()
    go(database, "0003")
    with database.engine.begin() as connection:
        connection.execute(ROW)
        for key in (1, 2):
            connection.execute(
                text(
                    "INSERT INTO api_keys (id, account_id, name, shown, key_hash, scopes, created_at)"
                    " VALUES (:key, 1, 'k', 's', :hash, 'embed', '2026-01-01 00:00:00')"
                ),
                {"key": key, "hash": str(key)},
            )
        for key, day, cost in ((1, "2025-12-31", 7), (1, today, 10), (1, today, 20), (2, today, 3)):
            connection.execute(
                text(
                    "INSERT INTO usage (account_id, key_id, day, model, images, texts, cost)"
                    " VALUES (1, :key, :day, 'm', 0, 1, :cost)"
                ),
                {"key": key, "day": day, "cost": cost},
            )
    database.migrate()
    assert read_limits(database, 1).spent == 33
    assert last_days(database, 1) == {1: today, 2: today}


def test_labels_of_earlier_sets_are_counted(database):
    go(database, "0005")
    with database.engine.begin() as connection:
        connection.execute(ROW)
        connection.execute(
            text(
                "INSERT INTO label_sets (account_id, name, content, created_at)"
                " VALUES (1, 'pets', :content, '2026-01-01 00:00:00')"
            ),
            {"content": json.dumps({"labels": ["cat", "dog"], "template": None})},
        )
    database.migrate()
    assert [each[:2] for each in StoredLabelSets(database).list(1, limit=10)] == [("pets", 2)]


def test_balances_of_earlier_entries_are_summed(database):
    go(database, "0006")
    with database.engine.begin() as connection:
        for account in (1, 2):
            connection.execute(
                text(
                    "INSERT INTO accounts (id, email, role, active, balance, created_at)"
                    " VALUES (:id, :email, 'user', true, 13, '2026-01-01 00:00:00')"
                ),
                {"id": account, "email": f"{account}@example.org"},
            )
        for number, amount in enumerate((20, -10, 3)):
            for account in (1, 2):
                for book, signed in (("credit", amount), ("held", -amount)):
                    connection.execute(
                        text(
                            "INSERT INTO entries (movement, account_id, book, amount, reason, created_at)"
                            " VALUES (:movement, :account, :book, :amount, 'r', '2026-01-01 00:00:00')"
                        ),
                        {
                            "movement": f"{number} of {account}",
                            "account": account,
                            "book": book,
                            "amount": signed,
                        },
                    )
    database.migrate()
    for account in (1, 2):
        assert [line.balance for line in list_entries(database, account, 9)] == [13, 10, 20]
    with database.reading() as session:
        assert session.query(Entry).filter_by(book="held", balance=None).count() == 6
        assert find_errors(session) == []
    for statement in ("UPDATE entries SET amount = 0", "DELETE FROM entries"):
        with pytest.raises(DBAPIError, match="append-only"), database.engine.begin() as connection:
            connection.execute(text(statement))


def test_down_and_up_again(database):
    database.migrate()
    go(database, "base", command.downgrade)
    with database.engine.connect() as connection:
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
    database.migrate()
