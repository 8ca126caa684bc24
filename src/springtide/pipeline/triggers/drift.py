"""Runs by drift: a look that others take gives the reasons."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from springtide.domain.trigger import TriggerState
from springtide.pipeline.triggers.elsewhere import Elsewhere
from springtide.pipeline.triggers.firing import Firing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Executor
    from datetime import datetime

__all__ = ["DriftTriggers"]

REST = timedelta(days=1)  # drift stays until a better version serves; it need not start a run at every look


class DriftTriggers:
    """Models that are looked at for drift: each at most as often as it asks for, and not for a `REST` after it has fired.

    `look` is given a model and returns what it found, in words; nothing when there is no drift.
    """

    kind = "drift"

    def __init__(self, every: Mapping[str, timedelta], *, look: Callable[[str], Sequence[str]], pool: Executor) -> None:
        self._every = every  # of each model
        self._looks = Elsewhere(pool, look)
        self._looked: dict[str, datetime] = {}
        self._fired: dict[str, datetime] = {}
        self._found: dict[str, Sequence[str]] = {}

    def take_up(self, seen: Mapping[str, TriggerState], now: datetime) -> list[TriggerState]:
        """Remember when each was last fired."""
        self._fired = {model: seen[model].at for model in self._every if model in seen}
        self._looked, self._found = {}, {}
        return []

    def due(self, now: datetime) -> Iterator[Firing]:
        """Models in which drift was found."""
        for model in self._every:
            if self._is_awaited(model, now) and self._looks.begin(model, now):
                self._looked[model] = now
        for model, found in self._looks.results():
            if found:
                self._found[model] = found
        for model, found in self._found.items():
            for reason in found:
                yield Firing(model, reason, TriggerState(model, self.kind, now, {"found": list(found)}))

    def _is_awaited(self, model: str, now: datetime) -> bool:
        looked, fired = self._looked.get(model), self._fired.get(model)
        rested = fired is None or abs(now - fired) >= REST
        return rested and model not in self._found and (looked is None or abs(now - looked) >= self._every[model])

    def settle(self, firing: Firing) -> None:
        """Rest."""
        self._fired[firing.model] = firing.after.at
        self._found.pop(firing.model, None)
