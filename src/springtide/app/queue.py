"""Runs are asked for, followed and stopped here; the queue's library is imported only when something is asked for."""

from __future__ import annotations

import secrets
import sys
import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from springtide.domain.clock import utc_now
from springtide.domain.errors import Conflict
from springtide.domain.run import Failure, Run
from springtide.pipeline.dead_runs import close_dead_runs, is_gone

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from springtide.app.home import Home
    from springtide.domain.run import Event

__all__ = ["anyone_works", "cancel", "executor_command", "follow", "made_before", "new_run_id", "news", "submit"]

FOLLOW_S = 0.2
RECENT = timedelta(seconds=30)


def submit(
    home: Home,
    model: str,
    *,
    reasons: Sequence[str],
    priority: int = 0,
    until: datetime | None = None,
    collect: bool = True,
) -> Run:
    """Let a run of a model wait for a worker; where one waits or runs already the reasons join it, and it is returned.

    Raises
    ------
    NotFound
        If there is no such model.
    Conflict
        If one that waits or runs learns as of another time.
    """
    from springtide.pipeline.durable.queue import RunQueue  # noqa: PLC0415 - the queue's library costs 0.7 s

    home.model(model)
    close_dead_runs(home.registry, model, now=utc_now)  # one that was killed in a terminal would be joined for ever
    now = utc_now()
    run = Run(
        new_run_id(model, now),
        model,
        "queued",
        tuple(reasons),
        started=now,
        asked=now,
        until=until,
        priority=priority,
        collect=collect,
    )
    queue = RunQueue(home.settings.home.database, home.registry.engine)
    try:
        return home.registry.submit_run(run, lambda connection: queue.add(connection, run))
    finally:
        queue.close()


def cancel(home: Home, run: str, *, by: str) -> Run:
    """Stop a run: at once where nobody works on it, within two seconds where one does; one that has ended stays as it is.

    Raises
    ------
    Conflict
        If it has ended already.
    """
    why = f"cancelled by {by}"
    found = home.registry.change_run(run, lambda found: found if found.ended else replace(found, stop_asked=why))
    if found.ended:
        raise Conflict(f"run {run} has ended already: {found.state}", where=f"run {run}", do="nothing is left to stop")
    if found.state == "queued" or is_gone(found.process):
        failure = Failure(why, "the queue", "ask for it again when you like")
        end = home.registry.end_run(
            run, lambda found: replace(found, state="cancelled", failure=failure, finished=utc_now())
        )
        home.run_files.remove(run)
        return end
    return found


def follow(home: Home, run: str, *, after: int = 0) -> Iterator[Event]:
    """What a run tells, as it tells it, until it has ended."""
    while (events := news(home, run, after=after)) is not None:
        yield from events
        if events:
            after = events[-1].number
        else:
            time.sleep(FOLLOW_S)


def news(home: Home, run: str, *, after: int) -> Sequence[Event] | None:
    """What a run has told after an event; None once it has ended and all is told."""
    ended = home.registry.run(run).ended  # before its events: what it told at its end is among them
    return home.registry.events(run, after=after) or (None if ended else ())


def anyone_works(home: Home) -> bool:
    """Whether a worker lives that will take up what waits."""
    now = utc_now()
    return any(one.process and not is_gone(one.process) and now - one.beat < RECENT for one in home.registry.workers())


def executor_command(config: Path) -> list[str]:
    """Starts the process that does what needs the training libraries."""
    return [sys.executable, "-m", "springtide.app.executor", str(config)]


def new_run_id(model: str, now: datetime) -> str:
    """When and what, and four characters against two at once."""
    return f"{_stamp(now)}-{model}-{secrets.token_hex(2)}"


def made_before(run: str, moment: datetime) -> bool:
    """Whether an id was made before a time, as it says itself; to the second."""
    stamp = _stamp(moment)
    return run[: len(stamp)] < stamp


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y%m%d-%H%M%S}"
