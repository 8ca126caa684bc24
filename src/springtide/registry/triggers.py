"""What each trigger has seen, as rows; a request is a row of its own that is removed once it has been acted on."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import bindparam, delete, func, insert, select

from springtide.domain.trigger import TriggerState
from springtide.registry.schema import CHAMPIONS, RUNS, TRIGGERS, VERSIONS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection

__all__ = ["champions_made", "newest_snapshots", "remove", "request", "requests", "save", "states"]

REQUEST = "request:"  # the kind of a request begins so, and goes on with a digest of its reason


def states(connection: Connection) -> list[TriggerState]:
    """What every trigger and source has seen."""
    return _read(connection, TRIGGERS.c.kind.not_like(f"{REQUEST}%"))


def requests(connection: Connection) -> list[TriggerState]:
    """What was asked for and not yet acted on, oldest first."""
    return _read(connection, TRIGGERS.c.kind.like(f"{REQUEST}%"))


def save(connection: Connection, now: Sequence[TriggerState]) -> None:
    """Store states in place of what was stored of them."""
    if not now:
        return
    this = (TRIGGERS.c.subject == bindparam("a_subject")) & (TRIGGERS.c.kind == bindparam("a_kind"))
    connection.execute(delete(TRIGGERS).where(this), [{"a_subject": one.subject, "a_kind": one.kind} for one in now])
    connection.execute(
        insert(TRIGGERS),
        [
            {"subject": one.subject, "kind": one.kind, "at": one.at, "state": msgspec.json.encode(one.facts).decode()}
            for one in now
        ],
    )


def request(connection: Connection, model: str, reason: str, at: datetime) -> None:
    """Ask for a run; the same reason twice is one request."""
    kind = REQUEST + sha256(reason.encode()).hexdigest()[:16]
    save(connection, [TriggerState(model, kind, at, {"reason": reason})])


def remove(connection: Connection, answered: Sequence[TriggerState]) -> None:
    """Forget requests as they were read; one that was made again since then stays."""
    if not answered:
        return
    this = (TRIGGERS.c.subject == bindparam("a_subject")) & (TRIGGERS.c.kind == bindparam("a_kind"))
    connection.execute(
        delete(TRIGGERS).where(this & (TRIGGERS.c.at == bindparam("an_at"))),
        [{"a_subject": one.subject, "a_kind": one.kind, "an_at": one.at} for one in answered],
    )


def champions_made(connection: Connection) -> dict[str, datetime]:
    """When the version that serves was made, model by model."""
    same = (VERSIONS.c.model == CHAMPIONS.c.model) & (VERSIONS.c.number == CHAMPIONS.c.number)
    rows = connection.execute(select(CHAMPIONS.c.model, VERSIONS.c.created).join(VERSIONS, same))
    return {row.model: row.created for row in rows}


def newest_snapshots(connection: Connection, table: str) -> dict[str, int]:
    """The version of a lake table that the newest run of each model saw."""
    of_table = RUNS.c.lake_table == table
    newest = (
        select(RUNS.c.model, func.max(RUNS.c.started).label("started"))
        .where(of_table)
        .group_by(RUNS.c.model)
        .subquery()
    )
    same = (RUNS.c.model == newest.c.model) & (RUNS.c.started == newest.c.started)
    rows = connection.execute(select(RUNS.c.model, RUNS.c.lake_version).join(newest, same).where(of_table))
    return {row.model: row.lake_version for row in rows}


def _read(connection: Connection, which: ColumnElement[bool]) -> list[TriggerState]:
    rows = select(TRIGGERS.c.subject, TRIGGERS.c.kind, TRIGGERS.c.at, TRIGGERS.c.state).where(which)
    return [
        TriggerState(subject, kind, at, msgspec.json.decode(facts))
        for subject, kind, at, facts in connection.execute(rows.order_by(TRIGGERS.c.at, TRIGGERS.c.kind))
    ]
