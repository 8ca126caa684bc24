"""Runs by reports: when all regions that send rows into a table have reported for a period."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from springtide.domain.errors import NotFound
from springtide.domain.trigger import TriggerState
from springtide.pipeline.triggers.elsewhere import Elsewhere
from springtide.pipeline.triggers.firing import Firing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from concurrent.futures import Executor

    from springtide.lake.tables import Lake
    from springtide.pipeline.triggers.reports import ReportCounts, Reports

__all__ = ["Awaited", "RegionsTriggers"]

LOOK = timedelta(seconds=5)  # how often the version of a table is looked at


@dataclass(frozen=True, slots=True)
class Awaited:
    """A run for every period of a table for which each of the regions has `full` rows."""

    table: str
    regions: tuple[str, ...]
    period: timedelta
    full: int


class RegionsTriggers:
    """Waits for the reports of the tables of models; a run for the newest complete period, once.

    A period that is complete only after a later one starts nothing. A table is looked at only when its version has moved.

    Parameters
    ----------
    awaited
        What each model waits for.
    lake
        Where the tables are.
    counts
        Counts the reports of a table; models of one table share what it has counted.
    pool
        Where looks are made: a table may be far away.
    """

    kind = "regions"

    def __init__(self, awaited: Mapping[str, Awaited], *, lake: Lake, counts: ReportCounts, pool: Executor) -> None:
        self._awaited, self._lake, self._counts = awaited, lake, counts
        self._looks = Elsewhere(pool, self._look)
        self._looked: dict[str, datetime] = {}
        self._fired: dict[str, datetime] = {}  # the period that each was last fired for
        self._reports: dict[str, Reports] = {}

    def take_up(self, seen: Mapping[str, TriggerState], now: datetime) -> list[TriggerState]:
        """Remember the period that each was last fired for."""
        self._fired = {model: _period(seen[model]) for model in self._awaited if model in seen}
        self._looked, self._reports = {}, {}
        return []

    def due(self, now: datetime) -> Iterator[Firing]:
        """Models for which a period is complete that is newer than the last one, by the looks that have ended."""
        for model in self._awaited:
            if model not in self._looked or abs(now - self._looked[model]) >= LOOK:
                self._looks.begin(model, now)
                self._looked[model] = now
        for model, reports in self._looks.results():
            if reports is not None:
                self._reports[model] = reports
        for model, reports in self._reports.items():
            awaited = self._awaited[model]
            period, fired = reports.complete(awaited.regions), self._fired.get(model)
            if period is not None and (fired is None or period > fired):
                reason = (
                    f"all {len(awaited.regions)} regions have reported for the period from {period:%Y-%m-%d %H:%M} UTC"
                )
                yield Firing(model, reason, TriggerState(model, self.kind, now, {"period": period.isoformat()}))

    def settle(self, firing: Firing) -> None:
        """Wait for a later period."""
        self._fired[firing.model] = _period(firing.after)

    def _look(self, model: str) -> Reports | None:
        """The reports there are now; None where the table is not there yet."""
        awaited = self._awaited[model]
        try:
            table = self._lake.table(awaited.table)
        except NotFound:
            return None
        return self._counts.of(table, table.identity(), awaited.period, awaited.full)


def _period(fired: TriggerState) -> datetime:
    return datetime.fromisoformat(str(fired.facts["period"]))
