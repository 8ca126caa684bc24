"""One run from its first step to its last in this process: collect, snapshot, prepare, train, ..., publish."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from springtide.domain.clock import utc_now
from springtide.domain.errors import Conflict
from springtide.domain.run import Run
from springtide.pipeline.dead_runs import close_dead_runs, this_process
from springtide.pipeline.recorder import Recorder, Reporter
from springtide.pipeline.steps import Order, Steps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from springtide.domain.model import JournalEntry, Version
    from springtide.domain.verdict import Verdict
    from springtide.lake.table import Table
    from springtide.registry.registry import Registry
    from springtide.tasks.seam import Task

__all__ = ["Outcome", "outcome_of", "retrain"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run."""

    run: Run
    version: Version
    verdict: Verdict
    entry: JournalEntry
    metrics: Mapping[str, Mapping[str, float]]


def retrain(
    order: Order,
    *,
    task: Task[Any, Any, Any],
    tables: Callable[[str], Table],
    registry: Registry,
    collect: Callable[[], Mapping[str, Any]] | None,
    reporter: Reporter,
    now: Callable[[], datetime] = utc_now,
) -> Outcome:
    """Train a challenger, judge it against champion and baselines, publish it, and promote it if it won.

    Parameters
    ----------
    order : Order
        The model and its settings.
    task : Task
        What kind of learning problem it is.
    tables : callable
        Opens a table by its name; called after `collect`, which may create it.
    registry : Registry
        Where versions, journal and the run's record go.
    collect : callable, optional
        Brings in new rows and returns what it brought; None where no source feeds the table.
    reporter : Reporter
        Told of every step.
    now : callable
        The clock.

    Raises
    ------
    Conflict
        If a run of the model waits or runs already.
    """
    close_dead_runs(registry, order.model, now=now)
    run = Run(order.run, order.model, "running", order.reasons, now(), until=order.until, process=this_process())
    _claim(run, registry)
    recorder = Recorder(run, registry, reporter, now)
    with recorder.whole(), tempfile.TemporaryDirectory(prefix="springtide-") as folder:
        steps = Steps(order, task, tables, registry, Path(folder), collect)
        for name in steps.names:
            with recorder.step(name) as result:
                steps.take(name, result, progress=recorder.advance, now=now)
    return outcome_of(registry.run(order.run), registry)


def outcome_of(run: Run, registry: Registry) -> Outcome:
    """What came of a run that has succeeded, from the registry alone."""
    assert run.version is not None  # a run succeeds by publishing
    version, entry = registry.version(run.model, run.version), registry.entry_of(run)
    assert entry is not None
    return Outcome(run, version, version.verdict, entry, version.manifest.metrics)


def _claim(run: Run, registry: Registry) -> None:
    """Refuse a second run of a model at a time."""
    other = registry.submit_run(run, lambda _connection: None)
    if other.id != run.id:
        raise Conflict(
            f"run {other.id} of {run.model!r} {'waits' if other.state == 'queued' else 'is under way'}",
            where=f"model {run.model}",
            do=f"follow it with `springtide runs --follow {other.id}`, or stop it with `springtide cancel {other.id}`",
        )
