"""The composition root of the worker: the only place where training libraries meet the rest."""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Must stand before torch is imported: threads that wait by spinning made a fit 60 times slower (87 s against 1.5 s) as
# soon as two other processes used the two cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from springtide.app.code import code_version
from springtide.app.environment import environment, threads_of
from springtide.app.ingestion import Brought, ingest, sources_of
from springtide.app.queue import new_run_id
from springtide.domain.clock import utc_now
from springtide.pipeline import backtest as walk
from springtide.pipeline import comparison, life, reproduction, retraining
from springtide.pipeline.recorder import Reporter, Silent
from springtide.pipeline.steps import Order
from springtide.registry.run_files import RunFilesOf
from springtide.settings.words import Model
from springtide.tasks.forecast.graphs import GraphCache
from springtide.tasks.forecast.task import ForecastTask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime, timedelta

    from springtide.app.home import Home
    from springtide.domain.model import Version
    from springtide.domain.run import Run
    from springtide.pipeline.retraining import Outcome
    from springtide.tasks.seam import Progress, Task

__all__ = ["TASKS", "backtest", "compare", "live_through", "ordered", "reproduce", "retrain"]

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "springtide"

TASKS: Mapping[str, Task[Any, Any, Any]] = {"forecast": ForecastTask(graphs=GraphCache(CACHE / "graphs"))}


def retrain(
    home: Home,
    model: str,
    *,
    reporter: Reporter | None = None,
    reasons: tuple[str, ...] = ("by hand",),
    until: datetime | None = None,
    collect: bool = True,
    now: Callable[[], datetime] = utc_now,
    tasks: Mapping[str, Task[Any, Any, Any]] = TASKS,
) -> Outcome:
    """One run of a model in the foreground.

    `until` learns and judges as of a time in the past; `collect` says whether the table's sources are asked first.
    """
    settings = home.model(model)
    order = Order(
        run=new_run_id(model, now()),
        model=model,
        settings=settings,
        reasons=reasons,
        code=code_version(),
        until=until,
        environment=environment(),
    )
    return retraining.retrain(
        order,
        task=tasks[settings.task],
        tables=home.lake.table,
        registry=home.registry,
        collect=_collecting(home, settings, now) if collect and until is None else None,
        reporter=reporter or Silent(),
        now=now,
    )


def ordered(home: Home, run: Run) -> tuple[Order, Callable[[], Mapping[str, Any]] | None, RunFilesOf]:
    """What a run of the queue is to do, how it collects, and its files; its model's settings are fixed when it begins.

    Raises
    ------
    NotFound
        If the model was taken out of springtide.toml before the run began.
    """
    files = RunFilesOf(home.run_files, run.id)
    fixed = files.get("model.json")
    if fixed is None:
        settings = home.model(run.model)
        files.put("model.json", settings.model_dump_json().encode())
    else:
        words = json.loads(fixed)
        recipe = TASKS[words["task"]].recipe(**words.pop("recipe"))
        settings = Model.model_validate(words).model_copy(update={"recipe": recipe})
    order = Order(run.id, run.model, settings, run.reasons, code_version(), run.until, environment())
    return order, _collecting(home, settings, utc_now) if run.collect and run.until is None else None, files


def _collecting(home: Home, settings: Model, now: Callable[[], datetime]) -> Callable[[], Mapping[str, Any]] | None:
    """Brings in the new rows of the sources that feed a model's table; None where none does."""
    feeding = sources_of(home, settings.table)

    def bring() -> dict[str, Any]:
        brought = [ingest(home, source, now=now, told=lambda _brought, _done: None) for source in feeding]
        return {one.source: _counts(one) for one in brought}

    return bring if feeding else None


def backtest(
    home: Home,
    model: str,
    *,
    folds: int,
    progress: Progress,
    tasks: Mapping[str, Task[Any, Any, Any]] = TASKS,
) -> Iterator[int | walk.Backtest]:
    """Walk forward over the judging span; yields the number of each finished fold, then the result."""
    settings = home.model(model)
    with _champion_files(home, model) as champion:
        yield from walk.backtest(
            settings,
            task=tasks[settings.task],
            tables=home.lake.table,
            champion=champion,
            folds=folds,
            progress=progress,
        )


def live_through(
    home: Home,
    model: str,
    *,
    every: timedelta,
    since: datetime | None = None,
    until: datetime | None = None,
    publish: bool = False,
    tasks: Mapping[str, Task[Any, Any, Any]] = TASKS,
) -> Iterator[int | life.Span | life.Life]:
    """Replay a model's life with a retraining `every` so often; yields how many spans, each of them, then the result.

    `publish` puts the versions that served into the registry when all is done; without it the home is only read.
    """
    settings = home.model(model)
    plan = life.Plan(model, settings, every, code_version(), mark=secrets.token_hex(2), since=since, until=until)
    return life.live_through(
        plan, task=tasks[settings.task], tables=home.lake.table, registry=home.registry if publish else None
    )


def compare(
    home: Home, model: str, *, last: int, tasks: Mapping[str, Task[Any, Any, Any]] = TASKS
) -> comparison.SideBySide:
    """The newest `last` versions, the champion and the baselines on items that none of them has seen."""
    settings = home.model(model)
    return comparison.compare_versions(
        model, settings, task=tasks[settings.task], tables=home.lake.table, registry=home.registry, last=last
    )


def reproduce(
    home: Home, run: str, *, progress: Progress, tasks: Mapping[str, Task[Any, Any, Any]] = TASKS
) -> reproduction.Reproduction:
    """Repeat a finished run from its record, with as many threads as it had, and compare; nothing is published."""
    past = reproduction.find_past(home.registry, run)
    manifest = past.version.manifest
    with threads_of(manifest.environment):
        return reproduction.reproduce(
            past,
            task=tasks[manifest.task],
            tables=home.lake.table,
            registry=home.registry,
            code=code_version(),
            environment=environment(),
            progress=progress,
        )


@contextmanager
def _champion_files(home: Home, model: str) -> Iterator[tuple[Version, Path] | None]:
    champion = home.registry.champion(model)
    if champion is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="springtide-") as folder:
        yield champion, home.registry.fetch(champion, Path(folder))


def _counts(brought: Brought) -> dict[str, Any]:
    counts = asdict(brought)
    return {name: counts[name] for name in ("table", "version", "new", "corrected", "unchanged")} | {
        "gaps": len(brought.gaps)
    }
