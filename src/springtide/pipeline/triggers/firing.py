"""What all kinds of triggers have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from springtide.domain.trigger import TriggerState

__all__ = ["Firing", "Triggers"]


@dataclass(frozen=True, slots=True)
class Firing:
    """A model wants a run: why, and the state to store once the run has been submitted.

    In this order: a process that is killed in between submits once more, and that joins the run; the other way round
    the run would be lost.
    """

    model: str
    reason: str
    after: TriggerState


class Triggers(Protocol):
    """All triggers of one kind."""

    kind: str

    def take_up(self, seen: Mapping[str, TriggerState], now: datetime) -> list[TriggerState]:
        """Go on from the stored states, by model; returns the states of those seen for the first time, to be stored."""

    def due(self, now: datetime) -> Iterable[Firing]:
        """Who wants a run; asked again, the same ones, until they are settled."""

    def settle(self, firing: Firing) -> None:
        """The run was submitted."""
