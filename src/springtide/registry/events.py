"""What runs told while they went on, numbered from 1 in each run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import func, insert, select

from springtide.domain.run import Event
from springtide.registry.schema import EVENTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

__all__ = ["add", "add_all", "after", "count"]


def add(connection: Connection, run: str, kind: str, body: Mapping[str, Any], at: datetime) -> int:
    """Write the next event of a run, in a transaction whose writers take turns; its number."""
    return add_all(connection, run, [(kind, body, at)])


def add_all(connection: Connection, run: str, told: Sequence[tuple[str, Mapping[str, Any], datetime]]) -> int:
    """Write the next events of a run, at least one, as `add` does; the last one's number."""
    last = int(connection.scalar(select(func.max(EVENTS.c.number)).where(EVENTS.c.run == run)) or 0)
    rows = [
        {"run": run, "number": number, "at": at, "kind": kind, "body": msgspec.json.encode(body).decode()}
        for number, (kind, body, at) in enumerate(told, start=last + 1)
    ]
    connection.execute(insert(EVENTS), rows)
    return last + len(rows)


def count(connection: Connection, run: str) -> dict[str, int]:
    """How many events a run has of each kind."""
    rows = connection.execute(select(EVENTS.c.kind, func.count()).where(EVENTS.c.run == run).group_by(EVENTS.c.kind))
    return {row[0]: row[1] for row in rows}


def after(connection: Connection, run: str, number: int, limit: int) -> list[Event]:
    """The events of a run after that number, oldest first."""
    rows = connection.execute(
        select(EVENTS.c.run, EVENTS.c.number, EVENTS.c.at, EVENTS.c.kind, EVENTS.c.body)
        .where(EVENTS.c.run == run, EVENTS.c.number > number)
        .order_by(EVENTS.c.number)
        .limit(limit)
    )
    return [Event(row[0], row[1], row[2], row[3], msgspec.json.decode(row[4])) for row in rows]
