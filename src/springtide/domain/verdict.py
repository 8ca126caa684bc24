"""Promote or keep, with the numbers and one sentence that says why."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Comparison", "Verdict"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The challenger beside one rival on the same unseen items.

    `gain` is the share by which the challenger's mean loss is lower (negative: higher). `p_value` is
    one-sided: the chance of such a gain if the challenger were no better.
    """

    rival: str
    kind: str  # "champion" or "baseline"
    loss: float
    gain: float
    p_value: float
    passed: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate decided about one challenger, and all it looked at."""

    promote: bool
    reason: str
    rule: str
    loss_name: str
    items: int
    loss: float
    comparisons: tuple[Comparison, ...]
    warning: str | None = None
