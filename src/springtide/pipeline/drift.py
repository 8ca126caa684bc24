"""Has the world moved away from a champion? Its inputs beside those of its training, its losses beside a baseline's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from springtide.domain.errors import Conflict
from springtide.evaluation.drift import detect_worsening, find_shifts
from springtide.pipeline.gathering import gather
from springtide.pipeline.judgement import judging_start
from springtide.settings.words import Drift

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from springtide.domain.model import Version
    from springtide.evaluation.drift import Shift, Worsening
    from springtide.evaluation.losses import Losses
    from springtide.lake.table import Table
    from springtide.settings.words import Gate, Model
    from springtide.tasks.seam import Prepared, Task

__all__ = ["DriftReport", "LossDrift", "find_drift"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEAR = timedelta(days=365)
MOST_REASONS = 5  # inputs with a sentence of their own


@dataclass(frozen=True, slots=True)
class LossDrift:
    """Whether the champion has become worse than the baseline that was the best one when it was judged.

    `statistic` and `threshold` are those of the detector; `loss` and `baseline_loss` are means since `since`, from which
    on most speaks for a change (over all items looked at, where nothing does).
    """

    baseline: str
    statistic: float
    threshold: float
    since: datetime | None
    loss: float
    baseline_loss: float
    items: int
    blocks: int
    drifted: bool


@dataclass(frozen=True, slots=True)
class DriftReport:
    """What one look has found. Times, numbers and words only.

    Attributes
    ----------
    version : str
        The champion: ``btc@3``.
    seen_until : datetime
        The latest outcome that it has learned from; inputs up to here are the reference.
    recent_from, recent_until : datetime
        The newest rows, which are compared with it.
    inputs : tuple of Shift
        Every input, the least likely first.
    loss : LossDrift, optional
        None where the champion cannot be asked for the present items; `notes` says why.
    drifted : bool
        Whether inputs or losses have drifted.
    reasons : tuple of str
        A sentence for each finding; none where nothing has drifted.
    notes : tuple of str
        What could not be looked at.
    """

    version: str
    seen_until: datetime
    recent_from: datetime
    recent_until: datetime
    inputs: tuple[Shift, ...]
    loss: LossDrift | None
    drifted: bool
    reasons: tuple[str, ...]
    notes: tuple[str, ...]


def find_drift(
    settings: Model,
    *,
    task: Task[Any, Any, Any],
    tables: Callable[[str], Table],
    champion: tuple[Version, Path],
    known_at: datetime | None = None,
) -> DriftReport:
    """Look once, at all rows or at what was known at `known_at`. Nothing is remembered from look to look.

    Inputs: the span ``drift.recent`` of the table beside what the champion has learned from (`find_shifts`).
    Losses: the champion from its exported files beside that baseline of the gate which had the lowest loss when the
    champion was judged, fitted anew (`detect_worsening`), on items that neither has seen.

    Raises
    ------
    NotFound
        If there is no such table or series.
    TooFewRows
        If the champion has seen every row, or too few are left.
    """
    wanted = settings.retrain.drift or Drift()
    version, folder = champion
    gathered = gather(settings, task=task, tables=tables, known_at=known_at)
    last = gathered.snapshot.last
    start = _watched_from(judging_start(gathered.snapshot, settings.gate, version), version)
    prepared = task.prepare(gathered.rows, settings.recipe, judged_from=start, outside=gathered.others)
    seen = version.manifest.trained_until or prepared.trained_until
    recent_from = max(last - wanted.recent, seen)
    circumstances = task.circumstances(prepared, seen_until=seen, recent_from=recent_from)
    shifts = find_shifts(circumstances.reference, circumstances.recent, psi=wanted.psi, alpha=wanted.alpha)
    notes = []
    try:
        loss = _watch_losses(task, prepared, version, folder, gate=settings.gate, alpha=wanted.loss_alpha)
    except Conflict as other_question:
        notes.append(f"the losses of {version.name} were not looked at: {other_question.what}, {other_question.where}")
        loss = None
    reasons = (*_say_shifts(shifts), *_say_loss(version, loss))
    return DriftReport(
        version=version.name,
        seen_until=seen,
        recent_from=recent_from,
        recent_until=last,
        inputs=tuple(sorted(shifts, key=lambda one: (one.p_value, -one.psi))),
        loss=loss,
        drifted=bool(reasons),
        reasons=reasons,
        notes=tuple(notes),
    )


def _watched_from(judged_from: datetime, version: Version) -> datetime:
    """Where the watch over the losses begins: at the last whole year before the judging span, less what was seen.

    All looks of a year begin at the same place and fit the same baselines, so that they see one detector grow; with a
    start that slides along every look would be a new game with a new chance to win. (A year is 365 days since 1970.)
    """
    whole = EPOCH + (judged_from - EPOCH) // YEAR * YEAR
    return max(whole, version.manifest.trained_until or whole)


def _watch_losses(
    task: Task[Any, Any, Any], prepared: Prepared, version: Version, folder: Path, *, gate: Gate, alpha: float
) -> LossDrift:
    champion = task.losses(task.load(folder), prepared)
    best = _best_known(version, gate.baselines)
    rivals = task.baselines(prepared, best)
    baseline = next(name for name in (*best, *rivals) if name in rivals)
    rival = task.losses(rivals[baseline], prepared)
    found = detect_worsening(champion, rival, threshold=_threshold(champion, gate, alpha))
    return _dated(found, baseline, items=len(champion.values))


def _best_known(version: Version, baselines: Sequence[str]) -> tuple[str, ...]:
    """The baseline of the gate that had the lowest loss when the version was judged; none where none was asked then."""
    metrics = version.manifest.metrics
    asked = sorted((float(metrics[name]["loss"]), name) for name in baselines if name in metrics)
    return tuple(name for _, name in asked[:1])


def _threshold(losses: Losses, gate: Gate, alpha: float) -> float:
    """What the detector of one year, which covers a judging span more, reaches by chance no more often than `alpha`."""
    length_s = (losses.overlap + 1) * losses.step
    blocks = len(np.unique(losses.times // length_s))
    span_s = int(losses.times.max()) - int(losses.times.min()) + length_s
    return max(1.0, blocks / span_s * (YEAR + gate.judge).total_seconds()) / alpha


def _dated(found: Worsening, baseline: str, *, items: int) -> LossDrift:
    return LossDrift(
        baseline=baseline,
        statistic=found.statistic,
        threshold=found.threshold,
        since=None if found.since is None else EPOCH + timedelta(seconds=found.since),
        loss=found.loss,
        baseline_loss=found.baseline_loss,
        items=items,
        blocks=found.blocks,
        drifted=found.drifted,
    )


def _say_shifts(shifts: Sequence[Shift]) -> list[str]:
    """The largest shifts in a sentence each, and how many more there are."""
    drifted = sorted((one for one in shifts if one.drifted), key=lambda one: -one.psi)
    said = [
        f"drift: {one.name} is unlike training (PSI {one.psi:.2f}, threshold {one.threshold:.2f})"
        for one in drifted[:MOST_REASONS]
    ]
    more = len(drifted) - len(said)
    return [*said, f"drift: {more} more of {len(shifts)} inputs are unlike training"] if more else said


def _say_loss(version: Version, loss: LossDrift | None) -> list[str]:
    if loss is None or not loss.drifted:
        return []
    since = "" if loss.since is None else f" since {loss.since:%Y-%m-%d %H:%M}"
    return [
        f"drift: {version.name} has been worse than {loss.baseline}{since} "
        f"(loss {loss.loss:.5g} beside {loss.baseline_loss:.5g})"
    ]
