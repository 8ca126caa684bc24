"""Which regions have reported for which period of a table, counted again only where batches have come."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl

from springtide.domain.rows import REGION, TIME
from springtide.domain.units import MONDAY
from springtide.lake.place import store_failures

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from springtide.lake.table import Table

__all__ = ["ReportCounts", "Reports"]

MOST_PERIODS = 1_000  # that are counted again by themselves; of more, all are


@dataclass(frozen=True, slots=True)
class Reports:
    """For each period, by its beginning, the regions whose report is full."""

    version: int
    by_period: Mapping[datetime, frozenset[str]]

    def newest(self) -> dict[str, datetime]:
        """The newest period for which each region has reported, for none: not there."""
        return {region: period for period in sorted(self.by_period) for region in self.by_period[period]}

    def complete(self, regions: Collection[str]) -> datetime | None:
        """The newest period for which all of the regions have reported; none where no region is named."""
        found = (period for period, there in self.by_period.items() if regions and there.issuperset(regions))
        return max(found, default=None)

    def missing(self, regions: Collection[str]) -> list[str]:
        """Who has not reported for the newest period that anybody has reported for."""
        there = self.by_period[max(self.by_period)] if self.by_period else frozenset()
        return [region for region in regions if region not in there]


@dataclass(slots=True)
class _Kept:
    """The reports of one table, as far as they have been counted; who counts holds the lock."""

    lake_id: str = ""
    reports: Reports | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class ReportCounts:
    """The reports of tables, each as it was last counted.

    The commits say which span of time each batch is about, so that only the periods of batches that came since are counted
    again; whoever asks at the same time waits for the same count.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, timedelta, int], _Kept] = {}

    def of(self, table: Table, identity: tuple[str, int], period: timedelta, full: int) -> Reports:
        """Which regions have `full` rows in each period, where the table is what `Table.identity` says.

        Periods are counted from a Monday, in UTC. Where somebody else has counted further meanwhile, it is that.
        """
        lake_id, version = identity
        with self._lock:
            kept = self._kept.setdefault((table.name, period, full), _Kept())
        with kept.lock:
            last = kept.reports if kept.lake_id == lake_id else None
            if last is None or last.version < version:
                kept.reports = last = _count(table, version, period, full, last)
                kept.lake_id = lake_id
            return last


def _count(table: Table, version: int, period: timedelta, full: int, last: Reports | None) -> Reports:
    """Count a version of a table; only the periods that have changed, where it is known which."""
    changed = None if last is None else _changed(table, last.version, version, period)
    rows = table.scan(version)
    if changed is not None:
        spans = [pl.col(TIME).is_between(first, end, closed="left") for first, end in _spans(changed, period)]
        rows = rows.filter(pl.any_horizontal(spans))
    length_us = period // timedelta(microseconds=1)
    number = ((pl.col(TIME) - MONDAY).dt.total_microseconds() // length_us).alias("number")
    counts = rows.select(number, REGION).group_by("number", REGION).len().filter(pl.col("len") >= full)
    found: dict[datetime, set[str]] = defaultdict(set)
    with store_failures(table.where):
        for at, region, _ in counts.collect().iter_rows():
            found[MONDAY + at * period].add(region)
    same = (
        {}
        if last is None or changed is None
        else {at: there for at, there in last.by_period.items() if at not in changed}
    )
    return Reports(version, same | {at: frozenset(names) for at, names in found.items()})


def _changed(table: Table, since: int, version: int, period: timedelta) -> set[datetime] | None:
    """The periods that batches between two versions are about; None where a version does not say, or they are many."""
    told = [one for one in table.parcels_after(since) if one.version <= version]
    if len(told) != version - since:  # small files were joined, or rows came another way
        return None
    changed: set[datetime] = set()
    for facts in (facts for parcels in told for facts in parcels.facts):
        first, last = ((datetime.fromisoformat(facts[end]) - MONDAY) // period for end in ("first", "last"))
        if last - first >= MOST_PERIODS:
            return None
        changed.update(MONDAY + at * period for at in range(first, last + 1))
    return changed


def _spans(periods: Collection[datetime], period: timedelta) -> list[tuple[datetime, datetime]]:
    """Periods that follow each other, as one span each."""
    spans: list[tuple[datetime, datetime]] = []
    for start in sorted(periods):
        if spans and spans[-1][1] == start:
            spans[-1] = spans[-1][0], start + period
        else:
            spans.append((start, start + period))
    return spans
