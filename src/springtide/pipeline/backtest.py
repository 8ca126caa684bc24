"""Walk forward through history: train, judge, step on, as it would have gone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from springtide.domain.errors import Conflict, SettingsError
from springtide.evaluation.confidence_set import compare_all
from springtide.evaluation.losses import Losses
from springtide.evaluation.significance import compare, compare_by_group
from springtide.evaluation.splits import walk_forward
from springtide.pipeline.gathering import RESOLUTION, gather
from springtide.tasks.seam import Budget

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from springtide.domain.model import Version
    from springtide.evaluation.significance import Difference
    from springtide.evaluation.splits import Fold
    from springtide.lake.table import Table
    from springtide.settings.words import Model
    from springtide.tasks.seam import Advance, Task

__all__ = [
    "Backtest",
    "FoldJob",
    "JudgedFold",
    "Standing",
    "fit_before",
    "join",
    "judge_fold",
    "moment",
    "plan_folds",
    "sum_up",
]


@dataclass(frozen=True, slots=True)
class Standing:
    """One rival over all folds it took part in; `model` is the freshly trained one beside it on the same items.

    `mcs_p_value` above 0.1: in the set that holds the best one with 90 % confidence; None where folds are missing.
    """

    name: str
    items: int
    loss: float
    model_loss: float
    metrics: Mapping[str, float]
    difference: Difference | None  # of the model against this rival; None for the model itself
    by_group: Mapping[str, Difference]
    mcs_p_value: float | None = None


@dataclass(frozen=True, slots=True)
class Backtest:
    """How a freshly trained model would have done, fold by fold, beside its rivals."""

    loss_name: str
    folds: tuple[tuple[datetime, datetime], ...]
    standings: tuple[Standing, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FoldJob:
    """One fold of one model: all that is needed to work it out where the tables can be opened.

    `versions` pins the tables, so that every fold of a walk learns from the same rows wherever and whenever it is done.
    """

    model: str
    settings: Model
    task: Task[Any, Any, Any]
    fold: Fold
    number: int
    folds: int
    versions: Mapping[str, int]
    champion: Version | None

    def __str__(self) -> str:
        return f"model {self.model}, window {self.number} of {self.folds}"


@dataclass(frozen=True, slots=True)
class JudgedFold:
    """Losses of everyone on one fold, and what was left out."""

    losses: Mapping[str, Losses]
    notes: tuple[str, ...]


def plan_folds(
    model: str,
    settings: Model,
    *,
    task: Task[Any, Any, Any],
    tables: Callable[[str], Table],
    champion: Version | None,
    folds: int,
) -> list[FoldJob]:
    """Cut the judging span of a model into folds; none of them needs another one.

    The champion takes part only in folds that begin after all it has seen.
    """
    gathered = gather(settings, task=task, tables=tables, known_at=None)
    span = int(settings.gate.judge.total_seconds())
    if folds < 1 or folds > span:
        raise SettingsError(f"{folds} windows", where="backtest --windows", do="ask for at least one")
    walks = walk_forward(last=int(gathered.snapshot.last.timestamp()), span=span, folds=folds)
    return [
        FoldJob(model, settings, task, fold, number, folds, gathered.versions, champion)
        for number, fold in enumerate(walks, start=1)
    ]


def judge_fold(job: FoldJob, *, tables: Callable[[str], Table], champion: Path | None) -> JudgedFold:
    """Train from scratch on what came before the fold, and judge on it; `champion` is the folder of its files."""
    settings, task = job.settings, job.task
    prepared, fitted, unknown = fit_before(job.fold, settings, task=task, tables=tables, versions=job.versions)
    losses = {"model": task.losses(task.predictor(fitted), prepared)}
    notes = list(unknown)
    if job.champion is not None and champion is not None:
        version = job.champion
        seen = version.manifest.trained_until
        if seen is None or seen > prepared.judged_from:
            notes.append(
                f"{version.name} has seen the window from {prepared.judged_from:%Y-%m-%d %H:%M}; left out there"
            )
        else:
            try:
                losses[version.name] = task.losses(task.load(champion), prepared)
            except Conflict as other_question:
                notes.append(f"{version.name} was left out: {other_question.what}")
    baselines = task.baselines(prepared, settings.gate.baselines)
    losses |= {name: task.losses(rival, prepared) for name, rival in baselines.items()}
    return JudgedFold(losses, tuple(notes))


def fit_before(
    fold: Fold,
    settings: Model,
    *,
    task: Task[Any, Any, Any],
    tables: Callable[[str], Table],
    versions: Mapping[str, int],
    seconds: float | None = None,
) -> tuple[Any, Any, tuple[str, ...]]:
    """What is prepared of the rows up to the end of a fold, what is fitted to those before its start, what was not known.

    `seconds` is the most that the fit may take, where that is less than the model's budget.
    """
    step = timedelta(seconds=tables(settings.table).step_s or 0)
    known_at = moment(fold.stop) + step - RESOLUTION  # the newest row begins before the end of the fold
    gathered = gather(settings, task=task, tables=tables, known_at=known_at, versions=versions)
    prepared = task.prepare(gathered.rows, settings.recipe, judged_from=moment(fold.start), outside=gathered.others)
    budget = settings.budget.total_seconds()
    most = budget if seconds is None else min(budget, seconds)
    fitted = task.fit(prepared, start=None, budget=Budget(most, settings.seed), progress=_ignore)
    return prepared, fitted, gathered.unknown


def sum_up(jobs: Sequence[FoldJob], judged: Sequence[JudgedFold]) -> Backtest:
    """The folds of one model as one result."""
    parts: dict[str, list[Losses]] = {}
    beside: dict[str, list[Losses]] = {}
    for one in judged:
        for name, losses in one.losses.items():
            parts.setdefault(name, []).append(losses)
            beside.setdefault(name, []).append(one.losses["model"])
    joined = {name: join(one) for name, one in parts.items()}
    whole = {name: losses for name, losses in joined.items() if len(parts[name]) == len(jobs)}
    p_values = compare_all(whole, rng=np.random.default_rng(jobs[0].settings.seed))
    standings = [_standing(name, losses, join(beside[name]), p_values.get(name)) for name, losses in joined.items()]
    return Backtest(
        loss_name=parts["model"][0].name,
        folds=tuple((moment(job.fold.start), moment(job.fold.stop)) for job in jobs),
        standings=tuple(standings),
        notes=tuple(note for one in judged for note in one.notes),
    )


def _ignore(advance: Advance) -> None:
    """Nobody waits for the single steps of a fold."""


def _standing(name: str, losses: Losses, model: Losses, p_value: float | None) -> Standing:
    itself = name == "model"
    return Standing(
        name=name,
        items=len(losses.values),
        loss=losses.mean,
        model_loss=model.mean,
        metrics=losses.metrics,
        difference=None if itself else compare(model, losses),
        by_group={} if itself else compare_by_group(model, losses),
        mcs_p_value=p_value,
    )


def join(parts: Sequence[Losses]) -> Losses:
    """The losses of several folds as one, metrics and calibration weighted by items."""
    weights = np.array([len(part.values) for part in parts], dtype=np.float64)
    metrics = {
        name: _mean(np.array([part.metrics[name] for part in parts]), weights, squared=name == "rmse")
        for name in parts[0].metrics
        if all(name in part.metrics for part in parts)
    }
    calibration = {
        level: float(np.average([part.calibration[level] for part in parts], weights=weights))
        for level in parts[0].calibration
    }
    return Losses(
        name=parts[0].name,
        values=np.concatenate([part.values for part in parts]),
        times=np.concatenate([part.times for part in parts]),
        groups=np.concatenate([part.groups for part in parts]),
        overlap=parts[0].overlap,
        metrics=metrics,
        step=parts[0].step,
        slices={name: np.concatenate([part.slices[name] for part in parts]) for name in parts[0].slices},
        calibration=calibration,
        question=parts[0].question,
    )


def _mean(values: NDArray[np.float64], weights: NDArray[np.float64], *, squared: bool) -> float:
    """The mean over all items; a root mean square is averaged as what it is a root of."""
    if squared:
        return float(np.sqrt(np.average(values**2, weights=weights)))
    return float(np.average(values, weights=weights))


def moment(seconds: int) -> datetime:
    """UTC."""
    return datetime.fromtimestamp(seconds, tz=UTC)
