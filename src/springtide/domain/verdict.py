"""Promote or keep, with the numbers and one sentence that says why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["LET_IN", "Comparison", "Verdict"]

LET_IN = "serves without proof"  # how the warning of a version begins that the gate let in without beating every bar


@dataclass(frozen=True, slots=True)
class Comparison:
    """The challenger beside one rival on the same unseen items.

    `gain` is the share by which the challenger's mean loss is lower (negative: higher). `p_value` is
    one-sided: the chance of such a gain if the challenger were no better. `e_value` is the evidence of all runs
    since the champion serves, from `blocks` blocks of time; it needs no correction for how often one looked.
    """

    rival: str
    kind: str  # "champion" or "baseline"
    loss: float
    gain: float
    p_value: float
    passed: bool
    e_value: float | None = None
    blocks: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate decided about one challenger, and all it looked at.

    `evidence` is plain JSON that the gate's next look goes on from.
    """

    promote: bool
    reason: str
    rule: str
    loss_name: str
    items: int
    loss: float
    comparisons: tuple[Comparison, ...]
    warning: str | None = None
    evidence: dict[str, Any] | None = None

    @property
    def let_in(self) -> bool:
        """Whether it serves without having passed; another warning says what it was not compared with."""
        return self.promote and self.warning is not None and self.warning.startswith(LET_IN)
