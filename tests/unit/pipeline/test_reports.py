"""Which regions have reported for which period: what is counted bit by bit is what is counted at once."""

from __future__ import annotations

import random
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

from springtide.domain.errors import NotFound
from springtide.lake.table import Parcel, Table
from springtide.lake.tables import Lake
from springtide.pipeline.triggers.reports import ReportCounts

if TYPE_CHECKING:
    from collections.abc import Sequence

MONDAY = datetime(2024, 1, 1, tzinfo=UTC)
WEEK = timedelta(weeks=1)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Lake(str(tmp_path)).open("counts", step_s=None)


def parcel(region: str, days: Sequence[int]) -> Parcel:
    """Rows of those days."""
    times = [MONDAY + timedelta(days=day) for day in days]
    rows = pl.DataFrame(
        {"unique_id": region, "ds": times, "region": region, "y": 1.0},
        schema_overrides={"ds": pl.Datetime("us", "UTC")},
    )
    return Parcel(rows, {"first": min(times).isoformat(), "last": max(times).isoformat()})


def store(table: Table, *parcels: Parcel) -> None:
    table.write_parcels(lambda _id, _version: parcels)


def test_what_is_counted_as_batches_come_is_what_is_counted_at_once(table: Table) -> None:
    chance, counts = random.Random(7), ReportCounts()
    for turn in range(40):
        regions = chance.sample(["omsk", "tver", "perm", "tula"], 2)
        starts = [chance.randrange(-20, 60) for _ in regions]
        parcels = [
            parcel(region, sorted(chance.sample(range(start, start + 16), chance.randint(1, 12))))
            for region, start in zip(regions, starts, strict=True)
        ]
        store(table, *parcels)
        if turn == 20:
            table.compact()
        if turn % 3:  # several versions may have come since
            continue
        assert counts.of(table, table.identity(), WEEK, 4) == ReportCounts().of(table, table.identity(), WEEK, 4)
        assert counts.of(table, table.identity(), timedelta(days=1), 1) == ReportCounts().of(
            table, table.identity(), timedelta(days=1), 1
        )


def test_only_the_periods_of_new_batches_are_read_again(table: Table) -> None:
    counts = ReportCounts()
    store(table, parcel("omsk", range(700)))
    counts.of(table, table.identity(), WEEK, 7)
    [old] = (Path(table.place.url) / "counts").glob("*.parquet")
    store(table, parcel("tver", range(1400, 1407)))
    old.unlink()  # it holds no row of that week
    with pytest.raises(NotFound):
        ReportCounts().of(table, table.identity(), WEEK, 7)
    reports = counts.of(table, table.identity(), WEEK, 7)
    assert reports.newest()["tver"] == MONDAY + 200 * WEEK
    assert reports.newest()["omsk"] == MONDAY + 99 * WEEK


def test_rows_that_came_another_way_are_counted_too(table: Table) -> None:
    counts = ReportCounts()
    store(table, parcel("omsk", range(7)))
    assert counts.of(table, table.identity(), WEEK, 7).newest()["omsk"] == MONDAY
    table.write(parcel("omsk", range(7, 14)).rows)
    assert counts.of(table, table.identity(), WEEK, 7).newest()["omsk"] == MONDAY + WEEK


def test_a_table_that_was_made_anew_is_counted_anew(table: Table) -> None:
    counts = ReportCounts()
    store(table, parcel("omsk", range(7)))
    counts.of(table, table.identity(), WEEK, 7)
    shutil.rmtree(Path(table.place.url) / "counts")
    store(table, parcel("tver", range(7)))
    assert counts.of(table, table.identity(), WEEK, 7).by_period == {MONDAY: frozenset({"tver"})}
