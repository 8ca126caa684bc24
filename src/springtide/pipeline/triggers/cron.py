"""Runs by the clock: at every tick of a schedule, and once for all that were missed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from springtide.domain.trigger import TriggerState
from springtide.pipeline.triggers.firing import Firing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from springtide.settings.cron import Cron

__all__ = ["CronTriggers"]

PUNCTUAL = timedelta(minutes=2)  # a tick acted on later than this was missed, and the reason says so


class CronTriggers:
    """The schedules of all models; next ticks are kept in memory, so that a look costs a comparison a model.

    The stored time is the one up to which all ticks are done with. A schedule seen for the first time, or changed,
    begins now: it has missed nothing. When the clock is set back, the ticks that it repeats are done with already.
    """

    kind = "cron"

    def __init__(self, schedules: Mapping[str, Cron]) -> None:
        self._schedules = schedules
        self._next: dict[str, datetime] = {}

    def take_up(self, seen: Mapping[str, TriggerState], now: datetime) -> list[TriggerState]:
        """Work out every model's next tick."""
        new = []
        for model, schedule in self._schedules.items():
            state = seen.get(model)
            if state is None or state.facts["schedule"] != str(schedule):
                state = TriggerState(model, self.kind, now, {"schedule": str(schedule), "fired": None})
                new.append(state)
            self._next[model] = schedule.after(state.at)
        return new

    def due(self, now: datetime) -> Iterator[Firing]:
        """Models with a tick that has come."""
        for model, tick in self._next.items():
            if tick <= now:
                schedule = str(self._schedules[model])
                reason = f"cron {schedule}"
                if now - tick > PUNCTUAL:
                    reason += f", missed since {tick:%Y-%m-%d %H:%M} UTC"
                facts = {"schedule": schedule, "fired": tick.isoformat()}
                yield Firing(model, reason, TriggerState(model, self.kind, now, facts))

    def settle(self, firing: Firing) -> None:
        """Go on with the first tick after now."""
        self._next[firing.model] = self._schedules[firing.model].after(firing.after.at)
