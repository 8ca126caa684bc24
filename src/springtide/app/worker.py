"""The composition root of the worker: the only place where training libraries meet the rest."""

from __future__ import annotations

import os
import secrets
import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

# Must stand before torch is imported: threads that wait by spinning made a fit 60 times slower (87 s against 1.5 s) as
# soon as two other processes used the two cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from springtide.app.code import code_version
from springtide.app.environment import environment, threads_of
from springtide.app.home import open_home
from springtide.app.ingestion import Brought, ingest, sources_of
from springtide.app.queue import new_run_id
from springtide.domain.clock import utc_now
from springtide.domain.errors import NotReady
from springtide.domain.recipe import FoundRecipe
from springtide.pipeline import backtest as walk
from springtide.pipeline import comparison, drift, life, reproduction, retraining
from springtide.pipeline import search as searching
from springtide.pipeline.fanout import open_fanout
from springtide.pipeline.recipes import Origin, choose, digest
from springtide.pipeline.recorder import Reporter, Silent
from springtide.pipeline.steps import Order
from springtide.registry.run_files import RunFilesOf
from springtide.settings import words
from springtide.tasks.forecast.graphs import GraphCache
from springtide.tasks.forecast.task import ForecastTask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime, timedelta

    from springtide.app.home import Home
    from springtide.domain.run import Run
    from springtide.evaluation.losses import Losses
    from springtide.pipeline.retraining import Outcome
    from springtide.tasks.seam import Progress, Task

__all__ = ["TASKS", "backtest", "compare", "find_drift", "live_through", "ordered", "reproduce", "retrain", "search"]

Job = TypeVar("Job")

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
    settings, origin = choose(home.model(model), home.registry.recipe(model), until=until)
    order = Order(
        run=new_run_id(model, now()),
        model=model,
        settings=settings,
        reasons=reasons,
        code=code_version(),
        until=until,
        origin=origin,
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
        settings, origin = choose(home.model(run.model), home.registry.recipe(run.model), until=run.until)
        files.put("model.json", msgspec.json.encode({"settings": settings.model_dump(mode="json"), "origin": origin}))
    else:
        facts = msgspec.json.decode(fixed)
        stated, origin = facts["settings"], msgspec.convert(facts["origin"], Origin)
        recipe = TASKS[stated["task"]].recipe(**stated.pop("recipe"))
        settings = words.Model.model_validate(stated).model_copy(update={"recipe": recipe})
    order = Order(run.id, run.model, settings, run.reasons, code_version(), run.until, origin, environment())
    return order, _collecting(home, settings, utc_now) if run.collect and run.until is None else None, files


def _collecting(
    home: Home, settings: words.Model, now: Callable[[], datetime]
) -> Callable[[], Mapping[str, Any]] | None:
    """Brings in the new rows of the sources that feed a model's table; None where none does."""
    feeding = sources_of(home, settings.table)
    return partial(_bring, home, feeding, now=now) if feeding else None


def backtest(
    home: Home, *models: str, folds: int, tasks: Mapping[str, Task[Any, Any, Any]] = TASKS
) -> Iterator[int | dict[str, walk.Backtest]]:
    """Walk forward over the judging spans of some models; yields how many folds are done, then results by model.

    Each model is trained by the recipe that its runs take. Where the folds are worked out, ``[compute]`` says.
    """
    jobs: list[walk.FoldJob] = []
    for model in models:
        settings, _ = choose(home.model(model), home.registry.recipe(model))
        jobs += walk.plan_folds(
            model,
            settings,
            task=tasks[settings.task],
            tables=home.lake.table,
            champion=home.registry.champion(model),
            folds=folds,
        )
    judged = []
    with open_fanout(home.settings.compute) as fanout:
        for one in fanout.map(_judge_fold, [_InHome(home.settings.home, job) for job in jobs]):
            judged.append(one)
            yield len(judged)
    yield {
        model: walk.sum_up(
            [job for job in jobs if job.model == model],
            [one for job, one in zip(jobs, judged, strict=True) if job.model == model],
        )
        for model in models
    }


def search(
    home: Home,
    model: str,
    *,
    trials: int,
    seconds: float | None = None,
    fixed: tuple[str, ...] = (),
    collect: bool = True,
    now: Callable[[], datetime] = utc_now,
    tasks: Mapping[str, Task[Any, Any, Any]] = TASKS,
) -> Iterator[searching.Trial | searching.Found]:
    """Look for a better recipe of a model and keep it; yields each trial, then the result.

    `fixed` keys stay as they are declared; at most `seconds` are spent, beside those of the declared recipe.
    """
    settings = home.model(model)
    if collect:
        _bring(home, sources_of(home, settings.table), now=now)
    chosen, _ = choose(settings, before := home.registry.recipe(model))
    known = before.changes if before is not None and chosen is not settings else {}
    plan = searching.Plan(model, settings, trials, seconds, fixed, known)
    with open_fanout(home.settings.compute) as fanout:

        def judge(jobs: Sequence[searching.TrialJob]) -> Iterator[Losses | searching.Impossible]:
            return fanout.map(_judge_trial, [_InHome(home.settings.home, job) for job in jobs])

        task = tasks[settings.task]
        for told in searching.search(plan, task=task, tables=home.lake.table, judge=judge, width=fanout.width):
            if isinstance(told, searching.Found):
                home.registry.save_recipe(
                    FoundRecipe(model, now(), told.changes, digest(settings), told.seen_until, told.facts)
                )
            yield told


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


def find_drift(
    home: Home, model: str, *, known_at: datetime | None = None, tasks: Mapping[str, Task[Any, Any, Any]] = TASKS
) -> drift.DriftReport:
    """Whether the champion's inputs or losses are unlike those of its training, as of `known_at` where it is given."""
    settings = home.model(model)
    champion = home.registry.champion(model)
    if champion is None:
        raise NotReady(f"{model!r} has no champion yet", where=f"model {model}", do=f"run `springtide retrain {model}`")
    with tempfile.TemporaryDirectory(prefix="springtide-") as folder:
        files = home.registry.fetch(champion, Path(folder))
        return drift.find_drift(
            settings, task=tasks[settings.task], tables=home.lake.table, champion=(champion, files), known_at=known_at
        )


@dataclass(frozen=True, slots=True)
class _InHome(Generic[Job]):
    """A job, and where the tables and files that it needs are."""

    place: words.Home
    job: Job

    def __str__(self) -> str:
        return str(self.job)

    def open(self) -> Home:
        """The home, wherever the job is done."""
        return open_home(words.Settings(home=self.place))


def _judge_fold(asked: _InHome[walk.FoldJob]) -> walk.JudgedFold:
    home, job = asked.open(), asked.job
    with tempfile.TemporaryDirectory(prefix="springtide-") as folder:
        champion = None if job.champion is None else home.registry.fetch(job.champion, Path(folder))
        return walk.judge_fold(job, tables=home.lake.table, champion=champion)


def _judge_trial(asked: _InHome[searching.TrialJob]) -> Losses | searching.Impossible:
    return searching.judge_trial(asked.job, tables=asked.open().lake.table)


def _bring(home: Home, sources: Sequence[str], *, now: Callable[[], datetime]) -> dict[str, Any]:
    """New rows of some sources."""
    brought = [ingest(home, source, now=now, told=lambda _brought, _done: None) for source in sources]
    return {one.source: _counts(one) for one in brought}


def _counts(brought: Brought) -> dict[str, Any]:
    counts = asdict(brought)
    return {name: counts[name] for name in ("table", "version", "new", "corrected", "unchanged")} | {
        "gaps": len(brought.gaps)
    }
