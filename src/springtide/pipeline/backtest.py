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
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from springtide.domain.model import Version
    from springtide.evaluation.significance import Difference
    from springtide.evaluation.splits import Fold
    from springtide.lake.table import Table
    from springtide.settings.words import Model
    from springtide.tasks.seam import Progress, Task

__all__ = ["Backtest", "Standing", "backtest", "join"]


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


def backtest(
    settings: Model,
    *,
    task: Task[Any, Any, Any],
    tables: Callable[[str], Table],
    champion: tuple[Version, Path] | None,
    folds: int,
    progress: Progress,
) -> Iterator[int | Backtest]:
    """Train from scratch before each fold and judge on it; yields the number of each finished fold, then the result.

    The champion takes part only in folds that begin after all it has seen.
    """
    snapshot = gather(settings, task=task, tables=tables, known_at=None).snapshot
    span = int(settings.gate.judge.total_seconds())
    if folds < 1 or folds > span:
        raise SettingsError(f"{folds} windows", where="backtest --windows", do="ask for at least one")
    walks = walk_forward(last=int(snapshot.last.timestamp()), span=span, folds=folds)
    parts: dict[str, list[Losses]] = {}
    beside: dict[str, list[Losses]] = {}
    notes: list[str] = []
    for number, fold in enumerate(walks, start=1):
        losses, said = _judge_fold(fold, settings, task=task, tables=tables, champion=champion, progress=progress)
        notes += said
        for name, one in losses.items():
            parts.setdefault(name, []).append(one)
            beside.setdefault(name, []).append(losses["model"])
        yield number
    joined = {name: join(one) for name, one in parts.items()}
    whole = {name: losses for name, losses in joined.items() if len(parts[name]) == len(walks)}
    p_values = compare_all(whole, rng=np.random.default_rng(settings.seed))
    standings = [_standing(name, losses, join(beside[name]), p_values.get(name)) for name, losses in joined.items()]
    yield Backtest(
        loss_name=parts["model"][0].name,
        folds=tuple((_moment(fold.start), _moment(fold.stop)) for fold in walks),
        standings=tuple(standings),
        notes=tuple(notes),
    )


def _judge_fold(
    fold: Fold,
    settings: Model,
    *,
    task: Task[Any, Any, Any],
    tables: Callable[[str], Table],
    champion: tuple[Version, Path] | None,
    progress: Progress,
) -> tuple[dict[str, Losses], list[str]]:
    """Losses of everyone on one fold, and what was left out."""
    step = timedelta(seconds=tables(settings.table).step_s or 0)
    known_at = _moment(fold.stop) + step - RESOLUTION  # the newest row begins before the end of the fold
    gathered = gather(settings, task=task, tables=tables, known_at=known_at)
    prepared = task.prepare(gathered.rows, settings.recipe, judged_from=_moment(fold.start), outside=gathered.others)
    budget = Budget(settings.budget.total_seconds(), settings.seed)
    fitted = task.fit(prepared, start=None, budget=budget, progress=progress)
    losses = {"model": task.losses(task.predictor(fitted), prepared)}
    notes = list(gathered.unknown)
    if champion is not None:
        version, folder = champion
        seen = version.manifest.trained_until
        if seen is None or seen > prepared.judged_from:
            notes.append(
                f"{version.name} has seen the window from {prepared.judged_from:%Y-%m-%d %H:%M}; left out there"
            )
        else:
            try:
                losses[version.name] = task.losses(task.load(folder), prepared)
            except Conflict as other_question:
                notes.append(f"{version.name} was left out: {other_question.what}")
    baselines = task.baselines(prepared, settings.gate.baselines)
    losses |= {name: task.losses(rival, prepared) for name, rival in baselines.items()}
    return losses, notes


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


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)
