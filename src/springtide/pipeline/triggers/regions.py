"""Runs by reports: when all regions that send rows into a table have reported for a period."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl

from springtide.domain.errors import NotFound
from springtide.domain.rows import REGION, TIME
from springtide.domain.trigger import TriggerState
from springtide.domain.units import MONDAY
from springtide.lake.place import store_failures
from springtide.pipeline.triggers.elsewhere import Elsewhere
from springtide.pipeline.triggers.firing import Firing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from concurrent.futures import Executor

    from springtide.lake.table import Table
    from springtide.lake.tables import Lake

__all__ = ["Awaited", "RegionsTriggers", "Reports", "count_reports"]

LOOK = timedelta(seconds=5)  # how often the version of a table is looked at


@dataclass(frozen=True, slots=True)
class Awaited:
    """A run for every period of a table for which each of the regions has `full` rows."""

    table: str
    regions: tuple[str, ...]
    period: timedelta
    full: int


@dataclass(frozen=True, slots=True)
class Reports:
    """For each period, by its beginning, the regions whose report is full."""

    version: int
    by_period: Mapping[datetime, frozenset[str]]

    def newest(self, region: str) -> datetime | None:
        """The newest period for which a region has reported."""
        return max((period for period, regions in self.by_period.items() if region in regions), default=None)

    def complete(self, regions: Collection[str]) -> datetime | None:
        """The newest period for which all of the regions have reported; none where no region is named."""
        found = (period for period, there in self.by_period.items() if regions and there.issuperset(regions))
        return max(found, default=None)

    def missing(self, regions: Collection[str]) -> list[str]:
        """Who has not reported for the newest period that anybody has reported for."""
        there = self.by_period[max(self.by_period)] if self.by_period else frozenset()
        return [region for region in regions if region not in there]


def count_reports(table: Table, period: timedelta, full: int, *, since: datetime | None = None) -> Reports:
    """Which regions have `full` rows in each period from `since` on; periods are counted from a Monday, in UTC."""
    version = table.version()
    seconds = int(period.total_seconds())
    number = ((pl.col(TIME) - MONDAY).dt.total_microseconds() // (seconds * 1_000_000)).alias("number")
    rows = table.scan(version)
    if since is not None:
        rows = rows.filter(pl.col(TIME) >= since)
    counts = rows.select(number, REGION).group_by("number", REGION).len().filter(pl.col("len") >= full)
    regions: dict[datetime, set[str]] = defaultdict(set)
    with store_failures(table.where):
        for at, region, _ in counts.collect().iter_rows():
            regions[MONDAY + at * period].add(region)
    return Reports(version, {at: frozenset(names) for at, names in regions.items()})


class RegionsTriggers:
    """Waits for the reports of the tables of models; a run for the newest complete period, once.

    A period that is complete only after a later one starts nothing. A table is counted only when its version has moved,
    and only from the period on that was last fired for.

    Parameters
    ----------
    awaited
        What each model waits for.
    lake
        Where the tables are.
    pool
        Where looks are made: a table may be far away.
    """

    kind = "regions"

    def __init__(self, awaited: Mapping[str, Awaited], *, lake: Lake, pool: Executor) -> None:
        self._awaited, self._lake = awaited, lake
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
        """Count again if the table has moved; None where it has not, or is not there yet."""
        awaited, last = self._awaited[model], self._reports.get(model)
        try:
            table = self._lake.table(awaited.table)
        except NotFound:
            return None
        if last is not None and table.version() == last.version:
            return None
        return count_reports(table, awaited.period, awaited.full, since=self._fired.get(model))


def _period(fired: TriggerState) -> datetime:
    return datetime.fromisoformat(str(fired.facts["period"]))
