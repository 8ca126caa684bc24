"""The challenger beside champion and baselines, on the same unseen items."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from springtide.domain.errors import Conflict, TooFewRows
from springtide.evaluation.gate import Rule, decide
from springtide.evaluation.slices import mean_by_span, skill_by_slice

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from pathlib import Path

    from springtide.domain.model import JournalEntry, Version
    from springtide.domain.rows import Snapshot
    from springtide.domain.verdict import Verdict
    from springtide.evaluation.losses import Losses
    from springtide.registry.registry import Registry
    from springtide.settings.words import Gate
    from springtide.tasks.seam import Prepared, Task

__all__ = ["Rivals", "evidence_of", "judge", "judging_start", "measure_rivals"]

SPANS = 60  # of the judging time, in the run's record


@dataclass(frozen=True, slots=True)
class Rivals:
    """Losses of everyone who was asked for the judging items."""

    challenger: Losses
    champion: tuple[str, Losses] | None
    baselines: Mapping[str, Losses]
    warning: str | None = None

    def everyone(self) -> dict[str, Losses]:
        """All losses by name, the challenger's first."""
        champion = {} if self.champion is None else {self.champion[0]: self.champion[1]}
        return {"challenger": self.challenger, **self.baselines, **champion}

    def metrics(self) -> dict[str, dict[str, float]]:
        """Mean loss and further metrics by rival, for the run's record."""
        return {name: {"loss": losses.mean, **losses.metrics} for name, losses in self.everyone().items()}

    def details(self) -> dict[str, Any]:
        """What a report shows, as columns of plain JSON with one of each rival: small, whatever was judged.

        ``loss``: the mean loss in each of about 60 equal spans of the judging time, from ``starts``.
        ``calibration``: the share of outcomes not above the quantile of each of ``levels``.
        ``skill``: for each kind of slice the challenger's skill against every rival in each of ``labels``.
        """
        loss: dict[str, list[Any]] = {"starts": mean_by_span(self.challenger, spans=SPANS)[0]}
        calibration: dict[str, list[Any]] = {"levels": list(self.challenger.calibration)}
        skill: dict[str, dict[str, list[Any]]] = {}
        for name, losses in self.everyone().items():
            loss[name] = _short(mean_by_span(losses, spans=SPANS)[1])
            calibration[name] = _short(losses.calibration.values())
            if losses is self.challenger:
                continue
            for kind, slices in skill_by_slice(self.challenger, losses).items():
                columns = {"labels": [one.label for one in slices], "items": [one.items for one in slices]}
                skill.setdefault(kind, columns)[name] = _short(one.skill for one in slices)
        return {"loss": loss, "calibration": calibration, "skill": skill}


def judging_start(snapshot: Snapshot, gate: Gate, champion: Version | None) -> datetime:
    """Where the judging items begin: the newest span, less what the champion has seen.

    Raises
    ------
    TooFewRows
        If the champion has seen every row there is.
    """
    start = snapshot.last - gate.judge
    seen = champion.manifest.trained_until if champion is not None else None
    if champion is None or seen is None:
        return start
    if seen >= snapshot.last:
        raise TooFewRows(
            f"{champion.name} has learned from all rows until {seen:%Y-%m-%d %H:%M}, so nothing is left to compare on",
            where=f"rows until {snapshot.last:%Y-%m-%d %H:%M}",
            do="bring in newer rows, or retrain as of a later time",
        )
    return max(start, seen)


def measure_rivals(
    task: Task[Any, Any, Any],
    prepared: Prepared,
    *,
    challenger: Path,
    champion: tuple[Version, Path] | None,
    baselines: Mapping[str, Any],
) -> Rivals:
    """Ask everyone for the same items; challenger and champion answer from the very files that would serve."""
    losses = task.losses(task.load(challenger), prepared)
    trivial = {name: task.losses(rival, prepared) for name, rival in baselines.items()}
    if champion is None:
        return Rivals(losses, None, trivial)
    version, folder = champion
    try:
        rival = (version.name, task.losses(task.load(folder), prepared))
    except Conflict as other_question:
        warning = f"{version.name} was not compared: {other_question.what}, {other_question.where}"
        return Rivals(losses, None, trivial, warning)
    return Rivals(losses, rival, trivial)


def judge(rivals: Rivals, gate: Gate, *, first: bool, evidence: Mapping[str, Any] | None = None) -> Verdict:
    """The gate's verdict; `first` says that no version serves yet, `evidence` is that of the newest version."""
    rule = Rule(gate.rule, gate.alpha, gate.baselines, gate.first if first else "gate")
    verdict = decide(
        rivals.challenger, champion=rivals.champion, baselines=rivals.baselines, rule=rule, evidence=evidence
    )
    if rivals.warning is None:
        return verdict
    warnings = [text for text in (verdict.warning, rivals.warning) if text]
    return replace(verdict, warning="; ".join(warnings))


def evidence_of(registry: Registry, lines: Iterable[JournalEntry]) -> Mapping[str, Any] | None:
    """What the newest verdict of a run has found, by lines of a journal, the newest first; others' versions have no run there.

    Who came to serve since then, a champion of old among them, begins a new reign: only the time that was counted stays.
    """
    new_reign = False
    for line in lines:
        new_reign |= line.serving != line.previous
        if line.run is not None:
            evidence = registry.version(line.model, line.version).verdict.evidence
            return {**evidence, "rivals": {}} if evidence and new_reign else evidence
    return None


def _short(values: Iterable[float | None]) -> list[float | None]:
    """Six digits are enough for people."""
    return [None if value is None else float(f"{value:.6g}") for value in values]
