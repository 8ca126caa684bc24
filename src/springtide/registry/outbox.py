"""The outbox: a notice is a row for each place before it is sent, and until it has arrived."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import case, delete, func, insert, select, update

from springtide.domain.notice import OF_A_JOB, STREAM, Delivery
from springtide.registry.schema import OUTBOX
from springtide.registry.wire import notice_from, to_json

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from typing import Any

    from sqlalchemy import ColumnElement, Connection, Row

    from springtide.domain.notice import Notice

__all__ = ["close", "due", "forget", "in_turn", "post", "postpone", "put_off", "undelivered"]

COLUMNS = [OUTBOX.c[name] for name in ("body", "target", "created", "due", "tries", "state", "failure")]
IN_ORDER = (OUTBOX.c.due, OUTBOX.c.created, OUTBOX.c.id)
IN_TURN = (OUTBOX.c.turn, OUTBOX.c.created, OUTBOX.c.id)  # clocks of hosts differ, and "9" comes after "10"


def post(connection: Connection, notice: Notice, targets: Collection[str], *, due: datetime) -> None:
    """Add a row for each target that has none of this notice, in a transaction whose writers take turns."""
    turn = (connection.scalar(select(func.max(OUTBOX.c.turn))) or 0) + 1
    known = set(connection.scalars(select(OUTBOX.c.target).where(OUTBOX.c.id == notice.id)))
    common = {
        "id": notice.id,
        "created": notice.at,
        "due": due,
        "tries": 0,
        "turn": turn,
        "state": "waiting",
        "body": to_json(notice),
    }
    if rows := [{**common, "target": target} for target in sorted(set(targets) - known)]:
        connection.execute(insert(OUTBOX), rows)


def in_turn(connection: Connection, limit: int) -> list[Delivery]:
    """What waits for the stream, in the order in which it was written."""
    waiting = select(*COLUMNS).where(OUTBOX.c.state == "waiting", OUTBOX.c.target == STREAM)
    return [_delivery(row) for row in connection.execute(waiting.order_by(*IN_TURN).limit(limit))]


def due(connection: Connection, now: datetime, limit: int) -> list[Delivery]:
    """What is due for all others than the stream, in order; of each target the first `limit`, of all senders of jobs too.

    So a place that is down holds up no other, and senders of jobs, who may be thousands, hold up no place.
    """
    place = case((OUTBOX.c.target.startswith(OF_A_JOB, autoescape=True), OF_A_JOB), else_=OUTBOX.c.target)
    in_line = func.row_number().over(partition_by=place, order_by=IN_ORDER).label("in_line")
    meant = OUTBOX.c.target != STREAM
    waiting = select(OUTBOX, in_line).where(OUTBOX.c.state == "waiting", OUTBOX.c.due <= now, meant).subquery()
    first = select(*(waiting.c[column.name] for column in COLUMNS)).where(waiting.c.in_line <= limit)
    return [
        _delivery(row) for row in connection.execute(first.order_by(waiting.c.due, waiting.c.created, waiting.c.id))
    ]


def undelivered(connection: Connection, limit: int) -> list[Delivery]:
    """What waits or was given up, newest first."""
    rows = select(*COLUMNS).where(OUTBOX.c.state.in_(("waiting", "given up")))
    newest = rows.order_by(OUTBOX.c.created.desc(), OUTBOX.c.id, OUTBOX.c.target).limit(limit)
    return [_delivery(row) for row in connection.execute(newest)]


def close(connection: Connection, notice: str, target: str) -> None:
    """It has arrived; the row stays for a while, so that the same notice is not sent again."""
    connection.execute(update(OUTBOX).where(_row(notice, target)).values(state="delivered", failure=None))


def put_off(connection: Connection, notice: str, target: str, *, due: datetime | None, failure: str) -> None:
    """A try has failed: the next one is `due`, or there is none when it is None."""
    changed: dict[str, Any] = {"state": "given up"} if due is None else {"due": due}
    changed |= {"tries": OUTBOX.c.tries + 1, "failure": failure}
    connection.execute(update(OUTBOX).where(_row(notice, target)).values(changed))


def postpone(connection: Connection, notice: str, target: str, *, due: datetime) -> None:
    """It was not tried, and is `due` later."""
    connection.execute(update(OUTBOX).where(_row(notice, target)).values(due=due))


def forget(connection: Connection, before: datetime) -> None:
    """Remove rows that wait for nothing and were last due before that time."""
    settled = OUTBOX.c.state.in_(("delivered", "given up"))
    connection.execute(delete(OUTBOX).where(settled, OUTBOX.c.due < before))


def _row(notice: str, target: str) -> ColumnElement[bool]:
    return (OUTBOX.c.id == notice) & (OUTBOX.c.target == target)


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(
        notice_from(row.body), row.target, row.created, row.due, tries=row.tries, state=row.state, failure=row.failure
    )
