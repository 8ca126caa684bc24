"""What the record of a run says, wherever it says it; nothing is there in every run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from springtide.domain.model import Version
    from springtide.domain.run import Run
    from springtide.domain.verdict import Comparison, Verdict

__all__ = ["CHALLENGER", "Record", "moment"]

CHALLENGER = "challenger"  # what the results of a run call its own version


@dataclass(frozen=True, slots=True)
class Record:
    """A run and the version that it made, if it came so far."""

    run: Run
    version: Version | None

    def result(self, step: str) -> Mapping[str, Any]:
        """What the step of that name gave; nothing where the run did not come so far."""
        return next((one.result for one in self.run.steps if one.name == step), {})

    @property
    def name(self) -> str:
        """``btc@3``, or the model's name while there is no version."""
        return self.run.model if self.version is None else self.version.name

    @property
    def verdict(self) -> Verdict | None:
        """What the gate decided."""
        return None if self.version is None else self.version.verdict

    @property
    def comparisons(self) -> Sequence[Comparison]:
        """The rivals, as the verdict has them."""
        return () if self.verdict is None else self.verdict.comparisons

    @property
    def champion(self) -> Comparison | None:
        """The champion at that time, where it was compared."""
        return next((one for one in self.comparisons if one.kind == "champion"), None)

    @property
    def best_baseline(self) -> Comparison | None:
        """The baseline with the lowest loss."""
        known = (one for one in self.comparisons if one.kind == "baseline" and not math.isnan(one.loss))
        return min(known, key=lambda one: one.loss, default=None)

    @property
    def metrics(self) -> dict[str, Mapping[str, float]]:
        """The metrics of everyone, the run's own version first."""
        return {name: one for name, one in self.result("evaluate").items() if name != "details" and "loss" in one}

    @property
    def details(self) -> Mapping[str, Any]:
        """Losses over time, calibration and skill by slice, as `Rivals.details` wrote them."""
        details: Mapping[str, Any] = self.result("evaluate").get("details", {})
        return details

    @property
    def explanation(self) -> Mapping[str, Any]:
        """What the task said of its inputs."""
        explanation: Mapping[str, Any] = self.result("explain").get("explanation", {})
        return explanation

    @property
    def setting(self) -> Mapping[str, Any]:
        """The task's own settings."""
        return {} if self.version is None else self.version.manifest.recipe

    @property
    def signature(self) -> Mapping[str, Any]:
        """What the exported model takes and gives."""
        return {} if self.version is None else self.version.manifest.signature

    @property
    def horizon(self) -> timedelta | None:
        """From the moment of a forecast to its last outcome; None where a task has no horizon."""
        signature = self.signature
        if "horizon" not in signature or "step_s" not in signature:
            return None
        return timedelta(seconds=signature["horizon"] * signature["step_s"])

    @property
    def window(self) -> timedelta:
        """From the first row that a forecast sees to the moment of the forecast."""
        signature = self.signature
        return timedelta(seconds=(signature.get("window", 1) - 1) * signature.get("step_s", 0))

    @property
    def series(self) -> Sequence[str]:
        """The series that are forecast."""
        names: Sequence[str] = self.signature.get("series", ())
        return names

    def called(self, rival: str) -> str:
        """A rival by the name that people know."""
        return self.name if rival == CHALLENGER else rival

    def kind(self, rival: str) -> str:
        """Which colour a rival has: that of the challenger, the champion, the best baseline or any other one."""
        if rival == CHALLENGER:
            return CHALLENGER
        if self.champion is not None and rival == self.champion.rival:
            return "champion"
        best = self.best_baseline
        return "baseline best" if best is not None and rival == best.rival else "baseline"


def moment(written: Any) -> datetime | None:
    """A time as results hold it; None where there is none."""
    return datetime.fromisoformat(written) if isinstance(written, str) else None
