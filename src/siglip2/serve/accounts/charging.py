"""A request is charged once or not at all: credit is held before the work, and paid with the answer."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import bindparam, delete, insert, select, text, update
from sqlalchemy.orm import Session

from siglip2.serve.accounts.database import Database
from siglip2.serve.accounts.ledger import move
from siglip2.serve.accounts.limits import is_over_soft_limit, refuse_over_hard_limit
from siglip2.serve.accounts.tables import Account, Answer, Hold, Table, Usage
from siglip2.serve.notices import notice_low_credit

HOLD_TIME = timedelta(minutes=15)
"""A hold that old belongs to a process that died; it is released."""

ANSWER_TIME = timedelta(hours=24)
"""How long an answer can be had again by its idempotency key."""

# Every request runs these: statements of tables alone, which cost a fraction of the same through objects.
_HOLDS, _ANSWERS, _USAGE, _ACCOUNTS = (
    Table.metadata.tables[kind.__tablename__] for kind in (Hold, Answer, Usage, Account)
)
_NEW_HOLD = insert(_HOLDS).returning(_HOLDS.c.id)
_TAKEN = delete(_HOLDS).where(_HOLDS.c.id == bindparam("id_")).returning(_HOLDS.c.id)
_EXPIRED = select(_HOLDS.c.id).where(_HOLDS.c.expires_at < bindparam("now")).limit(100)
# More than a request adds, so that they run out; few, so that no request waits for long. Those
# without a body go with their hold.
_OLD_ANSWERS = (
    select(_ANSWERS.c.id)
    .where(_ANSWERS.c.expires_at < bindparam("now"), _ANSWERS.c.body.is_not(None))
    .limit(10)
)
# Processes side by side find the same: none waits for the rows of another.
_FORGET_ANSWERS = delete(_ANSWERS).where(_ANSWERS.c.id.in_(_OLD_ANSWERS.with_for_update(skip_locked=True)))
_NEW_USAGE = insert(_USAGE)
_DAY_COST = text(
    "INSERT INTO day_costs (account_id, day, key_id, cost) VALUES (:account_id, :day, :key_id, :cost) "
    "ON CONFLICT (account_id, day, key_id) DO UPDATE SET cost = day_costs.cost + excluded.cost"
)
_NEW_ANSWER = insert(_ANSWERS)
_ANSWER = select(_ANSWERS).where(
    _ANSWERS.c.account_id == bindparam("account"), _ANSWERS.c.idempotency_key == bindparam("name")
)
_ANSWERED = (
    update(_ANSWERS)
    .where(_ANSWERS.c.hold_id == bindparam("hold"))
    .values(body=bindparam("said"), media_type=bindparam("kind"))
)
_BALANCE = select(_ACCOUNTS.c.balance).where(_ACCOUNTS.c.id == bindparam("id_"))


class StillRunning(Exception):
    """A request with this idempotency key has not been answered yet."""


class OtherRequest(Exception):
    """This idempotency key belongs to another request."""


@dataclass(frozen=True, kw_only=True)
class Bill:
    """Who pays for a request, and what it may cost.

    Attributes:
        account_id: who pays.
        key_id: with which key.
        model: that answers.
        images: to be embedded.
        texts: to be embedded.
        cost: micro-units.
        idempotency_key: the caller's name for the request, if any.
        request_hash: of route and body.
        kind: of the request, as usage is listed.
        tokens: read, known once the work is done.
    """

    account_id: int
    key_id: int
    model: str
    images: int
    texts: int
    cost: int
    idempotency_key: str | None
    request_hash: str
    kind: str = ""
    tokens: int = 0


@dataclass(frozen=True)
class StoredAnswer:
    """An answer given before."""

    body: bytes
    media_type: str


def reserve(database: Database, bill: Bill) -> int | StoredAnswer:
    """Hold the cost; the hold's number, or the answer that was given and paid before.

    Raises:
        NotEnoughCredit: see `ledger.move` and `limits.refuse_over_hard_limit`.
        StillRunning: the same request is being worked on.
        OtherRequest: the idempotency key was used for something else.
    """
    now = datetime.now(UTC)
    clear_expired(database, now)
    with database.transaction() as session:
        if bill.idempotency_key is not None:
            # Twins one after the other: where writers run side by side, both would find no answer.
            session.execute(select(Account.id).where(Account.id == bill.account_id).with_for_update())
            known = _known(session, bill, now)
            if known is not None:
                return known
        refuse_over_hard_limit(session, bill.account_id, bill.key_id, bill.cost)
        row = {"account_id": bill.account_id, "key_id": bill.key_id, "amount": bill.cost}
        hold_id = session.connection().execute(_NEW_HOLD, {**row, "expires_at": now + HOLD_TIME}).scalar_one()
        move(session, bill.account_id, bill.cost, source="credit", to="held", reason=f"hold {hold_id}")
        if bill.idempotency_key is not None:
            _keep(session, bill, hold_id, now)
        return hold_id


def settle(database: Database, bill: Bill, hold_id: int, body: bytes, media_type: str) -> int:
    """Pay, note the usage, and keep the answer, all at once; the account's balance then."""
    now = datetime.now(UTC)
    with database.transaction() as session:
        connection = session.connection()
        if connection.execute(_TAKEN, {"id_": hold_id}).first() is None:
            # The hold ran out while the work went on; it is charged anew, since the answer goes out.
            move(session, bill.account_id, bill.cost, source="credit", to="held", reason=f"hold {hold_id}")
            if bill.idempotency_key is not None:
                _keep(session, bill, hold_id, now)
        move(session, bill.account_id, bill.cost, source="held", to="revenue", reason=f"hold {hold_id}")
        used = {
            "account_id": bill.account_id,
            "key_id": bill.key_id,
            "day": now.date().isoformat(),
            "model": bill.model,
            "images": bill.images,
            "texts": bill.texts,
            "cost": bill.cost,
            "kind": bill.kind,
            "tokens": bill.tokens,
        }
        connection.execute(_NEW_USAGE, used)
        connection.execute(_DAY_COST, used)
        if bill.idempotency_key is not None:
            connection.execute(_ANSWERED, {"hold": hold_id, "said": body, "kind": media_type})
        if is_over_soft_limit(session, bill.account_id, bill.key_id):
            notice_low_credit()
        return connection.execute(_BALANCE, {"id_": bill.account_id}).scalar_one()


def release(database: Database, hold_id: int) -> None:
    """Give the credit back: the request failed, or its caller left."""
    with database.transaction() as session:
        _release(session, hold_id)


def clear_expired(database: Database, now: datetime) -> None:
    """Give back what processes that died have left behind, and forget answers whose time is over."""
    with database.engine.connect().execution_options(reading=True) as connection:
        expired = connection.execute(_EXPIRED, {"now": now}).scalars().all()
        old = connection.execute(_OLD_ANSWERS, {"now": now}).first()
    for hold_id in expired:
        # Each by itself: a transaction that held several accounts could meet another that holds them too.
        release(database, hold_id)
    if old is not None:
        with database.transaction() as session:
            session.connection().execute(_FORGET_ANSWERS, {"now": now})


def release_all(database: Database) -> None:
    """Give back every hold: for the start of the only process of a database."""
    with database.transaction() as session:
        for hold_id in session.scalars(select(Hold.id)).all():
            _release(session, hold_id)


def _keep(session: Session, bill: Bill, hold_id: int, now: datetime) -> None:
    """Give the request's name a place for its answer."""
    row = {
        "account_id": bill.account_id,
        "idempotency_key": bill.idempotency_key,
        "request_hash": bill.request_hash,
        "hold_id": hold_id,
        "expires_at": now + ANSWER_TIME,
    }
    session.connection().execute(_NEW_ANSWER, row)


def _known(session: Session, bill: Bill, now: datetime) -> StoredAnswer | None:
    key = {"account": bill.account_id, "name": bill.idempotency_key}
    answer = session.connection().execute(_ANSWER, key).first()
    if answer is None:
        return None
    if answer.expires_at < now and answer.body is not None:
        session.execute(delete(Answer).where(Answer.id == answer.id))
        return None
    if answer.request_hash != bill.request_hash:
        raise OtherRequest
    if answer.body is None:
        raise StillRunning
    return StoredAnswer(answer.body, answer.media_type or "application/json")


def _take(session: Session, hold_id: int) -> Hold | None:
    """Delete a hold; who deletes it, and nobody else, moves its credit."""
    hold = session.get(Hold, hold_id)
    if hold is None:
        return None
    gone = session.execute(delete(Hold).where(Hold.id == hold_id).returning(Hold.id)).first()
    return hold if gone is not None else None


def _release(session: Session, hold_id: int) -> None:
    hold = _take(session, hold_id)
    if hold is None:
        return
    move(session, hold.account_id, hold.amount, source="held", to="credit", reason=f"release {hold_id}")
    session.execute(delete(Answer).where(Answer.hold_id == hold_id, Answer.body.is_(None)))
