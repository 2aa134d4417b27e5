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

MAX_CHARACTERS = 16 * 1024**2
"""Of all sets of one account together, as they are stored."""


class LabelSets(Protocol):
    """Where label sets are kept; one account never sees another's."""

    def put(self, account_id: int | None, name: str, content: dict[str, Any]) -> datetime:
        """Save a set, in the place of one of the same name; when that was.

        Raises:
            InvalidInput: the account has `MAX_SETS` already, or would have more than `MAX_CHARACTERS`.
        """
        ...

    def get(self, account_id: int | None, name: str) -> tuple[dict[str, Any], datetime] | None:
        """A set and when it was saved."""
        ...

    def list(
        self, account_id: int | None, *, limit: int, after: str | None = None
    ) -> list[tuple[str, int, datetime]]:
        """Names, numbers of labels and times of an account's sets, by name: `limit` of those after a name."""
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
        text = _written(content)
        with self._database.transaction() as session:
            # One after the other for each account, so that two new sets of one name cannot meet.
            session.execute(select(Account.id).where(Account.id == account_id).with_for_update())
            others = select(func.count(), func.coalesce(func.sum(func.length(LabelSet.content)), 0)).where(
                LabelSet.account_id == account_id, LabelSet.name != name
            )
            num_others, num_characters = session.execute(others).one()
            _check_room(num_others, num_characters, text)
            known = session.scalars(_of(account_id).where(LabelSet.name == name)).first()
            if known is None:
                known = LabelSet(account_id=account_id, name=name)
                session.add(known)
            known.content, known.created_at, known.num_labels = text, now, len(content["labels"])
        return now

    def get(self, account_id: int | None, name: str) -> tuple[dict[str, Any], datetime] | None:
        """See `LabelSets.get`."""
        with self._database.reading() as session:
            row = session.scalars(_of(account_id).where(LabelSet.name == name)).first()
        return None if row is None else (json.loads(row.content), row.created_at)

    def list(
        self, account_id: int | None, *, limit: int, after: str | None = None
    ) -> list[tuple[str, int, datetime]]:
        """See `LabelSets.list`."""
        query = select(LabelSet.name, LabelSet.num_labels, LabelSet.created_at)
        query = query.where(LabelSet.account_id == account_id).order_by(LabelSet.name).limit(limit)
        if after is not None:
            query = query.where(LabelSet.name > after)
        with self._database.reading() as session:
            return [(row.name, row.num_labels, row.created_at) for row in session.execute(query)]

    def delete(self, account_id: int | None, name: str) -> bool:
        """See `LabelSets.delete`."""
        gone = delete(LabelSet).where(LabelSet.account_id == account_id, LabelSet.name == name)
        with self._database.transaction() as session:
            return session.execute(gone.returning(LabelSet.id)).first() is not None


class RememberedLabelSets:
    """In memory, for a service without accounts; gone when it stops."""

    def __init__(self) -> None:
        self._sets: dict[str, tuple[dict[str, Any], datetime]] = {}
        self._characters: dict[str, int] = {}

    def put(self, account_id: int | None, name: str, content: dict[str, Any]) -> datetime:
        """See `LabelSets.put`."""
        text = _written(content)
        others = [number for other, number in self._characters.items() if other != name]
        _check_room(len(others), sum(others), text)
        now = datetime.now(UTC)
        self._sets[name], self._characters[name] = (content, now), len(text)
        return now

    def get(self, account_id: int | None, name: str) -> tuple[dict[str, Any], datetime] | None:
        """See `LabelSets.get`."""
        return self._sets.get(name)

    def list(
        self, account_id: int | None, *, limit: int, after: str | None = None
    ) -> list[tuple[str, int, datetime]]:
        """See `LabelSets.list`."""
        names = sorted(name for name in self._sets if after is None or name > after)[:limit]
        return [(name, len(self._sets[name][0]["labels"]), self._sets[name][1]) for name in names]

    def delete(self, account_id: int | None, name: str) -> bool:
        """See `LabelSets.delete`."""
        self._characters.pop(name, None)
        return self._sets.pop(name, None) is not None


def _written(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False)


def _check_room(num_others: int, num_characters: int, text: str) -> None:
    if num_others >= MAX_SETS:
        raise InvalidInput(f"There are {MAX_SETS} label sets already; delete some.")
    if num_characters + len(text) > MAX_CHARACTERS:
        raise InvalidInput(f"All label sets together have at most {MAX_CHARACTERS} characters; delete some.")


def _of(account_id: int | None) -> Any:
    return select(LabelSet).where(LabelSet.account_id == account_id)
