"""Labels under a name, so that a request need not repeat them."""

import json
from datetime import UTC, datetime
from typing import Any, Protocol

from sqlalchemy import delete, func, select

from siglip2.errors import InvalidInput
from siglip2.serve.accounts.database import Database
from siglip2.serve.accounts.tables import Account, LabelSet

MAX_SETS = 1000
"""Of one account."""


class LabelSets(Protocol):
    """Where label sets are kept; one account never sees another's."""

    def put(self, account_id: int | None, name: str, content: dict[str, Any]) -> datetime:
        """Save a set, in the place of one of the same name; when that was.

        Raises:
            InvalidInput: the account has `MAX_SETS` already.
        """
        ...

    def get(self, account_id: int | None, name: str) -> tuple[dict[str, Any], datetime] | None:
        """A set and when it was saved."""
        ...

    def list(self, account_id: int | None) -> list[tuple[str, dict[str, Any], datetime]]:
        """All sets of an account, by name."""
        ...

    def delete(self, account_id: int | None, name: str) -> bool:
        """Forget a set; whether there was one."""
        ...


class StoredLabelSets:
    """In the database of accounts."""

    def __init__(self, database: Database):
        self._database = database

    def put(self, account_id: int | None, name: str, content: dict[str, Any]) -> datetime:
        """See `LabelSets.put`."""
        now = datetime.now(UTC)
        text = json.dumps(content, ensure_ascii=False)
        with self._database.transaction() as session:
            # One after the other for each account, so that two new sets of one name cannot meet.
            session.execute(select(Account.id).where(Account.id == account_id).with_for_update())
            known = session.scalars(_of(account_id).where(LabelSet.name == name)).first()
            if known is not None:
                known.content, known.created_at = text, now
                return now
            query = select(func.count()).select_from(LabelSet).where(LabelSet.account_id == account_id)
            if (session.scalar(query) or 0) >= MAX_SETS:
                raise InvalidInput(f"There are {MAX_SETS} label sets already; delete some.")
            session.add(LabelSet(account_id=account_id, name=name, content=text, created_at=now))
        return now

    def get(self, account_id: int | None, name: str) -> tuple[dict[str, Any], datetime] | None:
        """See `LabelSets.get`."""
        with self._database.reading() as session:
            row = session.scalars(_of(account_id).where(LabelSet.name == name)).first()
        return None if row is None else (json.loads(row.content), row.created_at)

    def list(self, account_id: int | None) -> list[tuple[str, dict[str, Any], datetime]]:
        """See `LabelSets.list`."""
        with self._database.reading() as session:
            rows = session.scalars(_of(account_id).order_by(LabelSet.name)).all()
        return [(row.name, json.loads(row.content), row.created_at) for row in rows]

    def delete(self, account_id: int | None, name: str) -> bool:
        """See `LabelSets.delete`."""
        gone = delete(LabelSet).where(LabelSet.account_id == account_id, LabelSet.name == name)
        with self._database.transaction() as session:
            return session.execute(gone.returning(LabelSet.id)).first() is not None


class RememberedLabelSets:
    """In memory, for a service without accounts; gone when it stops."""

    def __init__(self) -> None:
        self._sets: dict[str, tuple[dict[str, Any], datetime]] = {}

    def put(self, account_id: int | None, name: str, content: dict[str, Any]) -> datetime:
        """See `LabelSets.put`."""
        if name not in self._sets and len(self._sets) >= MAX_SETS:
            raise InvalidInput(f"There are {MAX_SETS} label sets already; delete some.")
        now = datetime.now(UTC)
        self._sets[name] = (content, now)
        return now

    def get(self, account_id: int | None, name: str) -> tuple[dict[str, Any], datetime] | None:
        """See `LabelSets.get`."""
        return self._sets.get(name)

    def list(self, account_id: int | None) -> list[tuple[str, dict[str, Any], datetime]]:
        """See `LabelSets.list`."""
        return [(name, *self._sets[name]) for name in sorted(self._sets)]

    def delete(self, account_id: int | None, name: str) -> bool:
        """See `LabelSets.delete`."""
        return self._sets.pop(name, None) is not None


def _of(account_id: int | None) -> Any:
    return select(LabelSet).where(LabelSet.account_id == account_id)
