"""What runs told while they went on, numbered from 1 in each run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import func, insert, select

from springtide.domain.run import Event
from springtide.registry.schema import EVENTS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import Connection

__all__ = ["add", "after"]


def add(connection: Connection, run: str, kind: str, body: Mapping[str, Any], at: datetime) -> int:
    """Write the next event of a run, in a transaction whose writers take turns; its number."""
    last = connection.scalar(select(func.max(EVENTS.c.number)).where(EVENTS.c.run == run)) or 0
    text = msgspec.json.encode(body).decode()
    connection.execute(insert(EVENTS).values(run=run, number=last + 1, at=at, kind=kind, body=text))
    return int(last) + 1


def after(connection: Connection, run: str, number: int, limit: int) -> list[Event]:
    """The events of a run after that number, oldest first."""
    rows = connection.execute(
        select(EVENTS.c.run, EVENTS.c.number, EVENTS.c.at, EVENTS.c.kind, EVENTS.c.body)
        .where(EVENTS.c.run == run, EVENTS.c.number > number)
        .order_by(EVENTS.c.number)
        .limit(limit)
    )
    return [Event(row[0], row[1], row[2], row[3], msgspec.json.decode(row[4])) for row in rows]
