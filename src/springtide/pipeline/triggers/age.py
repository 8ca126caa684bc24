"""Runs by age: when the version that serves was made too long ago, or there is none."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from springtide.domain.trigger import TriggerState
from springtide.domain.units import format_span
from springtide.pipeline.triggers.firing import Firing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

__all__ = ["AgeTriggers"]

LOOK = timedelta(minutes=1)


class AgeTriggers:
    """The greatest ages of champions; `made` says when each was made, and is asked once a minute.

    A challenger need not win, so the champion may stay old: the next run is started when the last one that was started
    for its age is as old as that, too.
    """

    kind = "max_age"

    def __init__(self, limits: Mapping[str, timedelta], *, made: Callable[[], Mapping[str, datetime]]) -> None:
        self._limits = limits
        self._ask = made
        self._made: Mapping[str, datetime] = {}
        self._asked: datetime | None = None
        self._fired: dict[str, datetime] = {}

    def take_up(self, seen: Mapping[str, TriggerState], now: datetime) -> list[TriggerState]:
        """Remember when each was last fired; there is nothing to store of one that never was."""
        self._fired = {model: seen[model].at for model in self._limits if model in seen}
        self._asked = None
        return []

    def due(self, now: datetime) -> Iterator[Firing]:
        """Models whose champion is too old, or missing."""
        if self._limits and (self._asked is None or abs(now - self._asked) >= LOOK):
            self._made, self._asked = self._ask(), now
        for model, limit in self._limits.items():
            made, fired = self._made.get(model), self._fired.get(model)
            since = max((moment for moment in (made, fired) if moment is not None), default=None)
            if since is None or since + limit <= now:
                was = "no version serves yet" if made is None else f"the champion was made on {made:%Y-%m-%d %H:%M} UTC"
                reason = f"{was} (max_age {format_span(limit)})"
                yield Firing(model, reason, TriggerState(model, self.kind, now))

    def settle(self, firing: Firing) -> None:
        """Count from now."""
        self._fired[firing.model] = firing.after.at
