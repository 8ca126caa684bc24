"""The queue's side of runs: at most one of a model waits or runs, and what is asked for meanwhile joins it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select

from springtide.registry import runs
from springtide.registry.schema import ACTIVE, RUNS
from springtide.registry.wire import run_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from springtide.domain.run import Run

__all__ = ["active", "claim", "join", "release", "waiting"]


def active(connection: Connection, model: str) -> Run | None:
    """The run of a model that waits or runs."""
    run = connection.scalar(select(ACTIVE.c.run).where(ACTIVE.c.model == model))
    return None if run is None else runs.find(connection, run)


def waiting(connection: Connection) -> list[Run]:
    """The runs that wait, in the order in which workers take them."""
    queued = select(RUNS.c.run).join(ACTIVE, ACTIVE.c.run == RUNS.c.id).where(RUNS.c.state == "queued")
    found = [run_from(text) for text in connection.scalars(queued)]
    return sorted(found, key=lambda run: (-run.priority, run.asked or run.started, run.id))


def claim(connection: Connection, run: Run) -> None:
    """Store a new run as the one of its model, in a transaction that has seen that there is none."""
    connection.execute(insert(ACTIVE).values(model=run.lane, run=run.id))
    runs.save(connection, run)


def join(connection: Connection, run: Run, reasons: Sequence[str]) -> Run:
    """Add reasons that a run does not have yet."""
    joined = replace(run, reasons=(*run.reasons, *(reason for reason in reasons if reason not in run.reasons)))
    if joined != run:
        runs.save(connection, joined)
    return joined


def release(connection: Connection, run: Run) -> None:
    """Let the model have another run."""
    connection.execute(delete(ACTIVE).where(ACTIVE.c.run == run.id))
