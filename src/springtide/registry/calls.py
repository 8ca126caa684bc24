"""Calls to services that allow so many a month or a day: counted before each is sent, so that none is forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import insert, select, update

from springtide.registry.schema import CALLS

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["spend"]


def spend(connection: Connection, provider: str, period: str, limit: int) -> int | None:
    """Count one call, in a transaction whose writers take turns; the calls left, or None when none was left."""
    row = (CALLS.c.provider == provider) & (CALLS.c.period == period)
    spent = connection.scalar(select(CALLS.c.calls).where(row))
    if (spent or 0) >= limit:
        return None
    if spent is None:
        connection.execute(insert(CALLS).values(provider=provider, period=period, calls=1))
    else:
        connection.execute(update(CALLS).where(row).values(calls=spent + 1))
    return limit - (spent or 0) - 1
