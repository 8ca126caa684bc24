"""One suite over every place where tables can lie: a local folder and an S3 store on loopback."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl
import pytest
from tests import stores

from springtide.domain.errors import Conflict, NotFound, NotReady, StoreFailed
from springtide.domain.rows import Filter
from springtide.lake.columns import MOMENT
from springtide.lake.table import Parcel
from springtide.lake.tables import Lake

if TYPE_CHECKING:
    from collections.abc import ItemsView
    from pathlib import Path

    from springtide.lake.table import Table

START = datetime(2024, 1, 1, tzinfo=UTC)


def candles(hours: range, close: float = 1.0, series: tuple[str, ...] = ("BTC/USDT", "ETH/USDT")) -> pl.DataFrame:
    lines = [(name, START + timedelta(hours=hour), close, hour) for hour in hours for name in series]
    schema = {"unique_id": pl.String(), "ds": MOMENT, "close": pl.Float64(), "trades": pl.Int64()}
    return pl.DataFrame(lines, schema=schema, orient="row")


@pytest.fixture(params=["folder", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    if request.param == "folder":
        return Lake(str(tmp_path / "lake"))
    endpoint = request.getfixturevalue("s3_server")
    bucket = tmp_path.name.lower().replace("_", "-").strip("-")[-40:].lstrip("-")
    stores.make_bucket(endpoint, bucket)
    return Lake(f"s3://{bucket}/some/prefix", stores.s3_environment(endpoint))


def test_an_empty_lake_has_no_tables(lake: Lake) -> None:
    assert lake.names() == []
    with pytest.raises(NotFound, match="none yet"):
        lake.table("binance")


def test_tables_are_listed_by_name(lake: Lake) -> None:
    for name in ("b", "a-1"):
        lake.open(name).write(candles(range(1)))
    assert lake.names() == ["a-1", "b"]


def test_rows_come_back_as_they_were_written(lake: Lake) -> None:
    table = lake.open("binance", step_s=3600)
    written = table.write(candles(range(5)), marks={"binance": 4})
    assert (written.version, written.new, written.corrected, written.unchanged) == (0, 10, 0, 0)
    reopened = lake.table("binance")
    assert reopened.scan().collect().sort("ds", "unique_id").equals(candles(range(5)))
    assert (reopened.step_s, reopened.mark("binance"), reopened.mark("kraken")) == (3600, 4, None)


def test_overlapping_rows_are_told_apart_and_none_is_doubled(lake: Lake) -> None:
    table = lake.open("binance", step_s=3600)
    table.write(candles(range(5)))
    written = table.write(pl.concat([candles(range(3, 4), close=2.0), candles(range(4, 6))]), marks={"binance": 5})
    assert (written.version, written.new, written.corrected, written.unchanged) == (1, 2, 2, 2)
    assert table.mark("binance") == 5
    assert [(facts.rows, facts.duplicates, facts.gaps) for facts in table.facts()] == [(6, 0, ()), (6, 0, ())]


def test_a_snapshot_outlives_corrections_compaction_and_vacuum(lake: Lake) -> None:
    table = lake.open("binance", step_s=3600)
    for hour in range(4):
        table.write(candles(range(hour, hour + 1)))
    snapshot = table.snapshot(Filter(("BTC/USDT",), start=START + timedelta(hours=1)))
    table.write(candles(range(4), close=3.0))
    table.compact()
    table.vacuum([snapshot.version], retention_hours=0)
    table.verify(snapshot)
    expected = candles(range(1, 4), series=("BTC/USDT",))
    assert table.rows(snapshot).collect().equals(expected)
    assert table.newest(Filter(), steps=1)["close"].to_list() == [3.0, 3.0]


def test_the_same_rows_have_the_same_hash_in_every_place(lake: Lake) -> None:
    table = lake.open("binance")
    table.write(candles(range(5)))
    assert table.snapshot(Filter()).sha256 == "ca4aa168304ae3b1dbe559f1310607e15cd2e91e063d18d89e73ce3aa759e691"


def test_writers_that_race_for_a_new_table_lose_nothing_and_double_nothing(lake: Lake) -> None:
    batches = [candles(range(4)), candles(range(2, 6)), candles(range(6)), candles(range(5, 8))]
    with ThreadPoolExecutor(len(batches)) as pool:
        list(pool.map(lambda rows: lake.open("binance").write(rows), batches))
    assert lake.table("binance").scan().collect().sort("ds", "unique_id").equals(candles(range(8)))


def test_compaction_beside_a_writer_loses_no_row_and_brings_no_old_value_back(lake: Lake) -> None:
    table = lake.open("binance", step_s=3600)
    table.write(candles(range(1), close=0.0))

    def correct_and_append() -> None:
        for hour in range(1, 12):
            table.write(pl.concat([candles(range(hour), close=hour), candles(range(hour, hour + 1), close=hour)]))

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(correct_and_append)
        while not writing.done():
            with suppress(Conflict):  # it says that the writer came first
                table.compact()
        writing.result()
    assert table.scan().collect().sort("ds", "unique_id").equals(candles(range(12), close=11.0))


class Meddling(dict[str, int]):
    """Marks that let a rival write one row each time they are looked at, in the middle of somebody's write."""

    def __init__(self, rival: Table, times: int) -> None:
        super().__init__(slow=1)
        self.rival, self.left = rival, times

    def items(self) -> ItemsView[str, int]:
        if self.left:
            self.left -= 1
            self.rival.write(candles(range(100 + self.left, 101 + self.left), series=("BTC/USDT",)))
        return super().items()


@pytest.mark.parametrize("close", [1.0, 2.0], ids=["append", "correct"])
def test_a_writer_that_was_overtaken_compares_again_and_writes_once(lake: Lake, close: float) -> None:
    table = lake.open("binance")
    table.write(candles(range(2)))
    written = table.write(candles(range(3), close=close), marks=Meddling(table, times=1))
    assert (written.version, written.new + written.corrected + written.unchanged) == (2, 6)
    assert table.scan().collect().height == 7
    assert table.mark("slow") == 1


def test_a_writer_that_is_overtaken_every_time_gives_up_and_leaves_nothing(tmp_path: Path) -> None:
    waits_s: list[float] = []
    table = Lake(str(tmp_path), draw=lambda: 0.5, sleep=waits_s.append).open("binance")
    table.write(candles(range(1)))
    with pytest.raises(NotReady, match="nothing was written"):  # which passes: a sender comes again
        table.write(candles(range(3)), marks=Meddling(table, times=1000))
    assert table.mark("slow") is None
    assert table.version() == len(waits_s)
    assert waits_s[:3] == [0.01, 0.02, 0.04]
    assert max(waits_s) == 1.0


def test_an_object_store_that_does_not_answer_is_said_so() -> None:
    with pytest.raises(StoreFailed, match=r"could not take or give bytes.*Connection refused"):
        Lake("s3://bucket/lake", stores.s3_environment("http://127.0.0.1:9")).open("binance")


def test_a_commit_says_whose_rows_it_holds_and_which_were_new(lake: Lake) -> None:
    table = lake.open("binance")
    one, two = candles(range(3), series=("BTC/USDT",)), candles(range(2), series=("ETH/USDT",))
    first = table.write_parcels(lambda _id, _version: [Parcel(one, {"of": "a"}), Parcel(two, {"of": "b"})])
    later = candles(range(2, 4), close=2.0, series=("BTC/USDT",))
    second = table.write_parcels(lambda _id, _version: [Parcel(two, {"of": "b"}), Parcel(later, {"of": "a"})])
    assert first is not None
    assert second is not None
    assert first.facts == (
        {"of": "a", "new": 3, "corrected": 0, "unchanged": 0},
        {"of": "b", "new": 2, "corrected": 0, "unchanged": 0},
    )
    assert second.facts == (
        {"of": "b", "new": 0, "corrected": 0, "unchanged": 2},
        {"of": "a", "new": 1, "corrected": 1, "unchanged": 0},
    )
    table.compact()
    assert table.parcels_after(-1) == [first, second]
    assert table.parcels_after(0) == [second]
    assert table.parcels_after(second.version) == []
    assert table.scan().collect().height == 6


def test_what_to_store_is_asked_again_when_somebody_was_quicker(lake: Lake) -> None:
    table = lake.open("binance")
    seen: list[int] = []

    def choose(_id: str | None, version: int) -> list[Parcel]:
        seen.append(version)
        if len(seen) < 3:
            table.write(candles(range(100 + len(seen), 101 + len(seen)), series=("BTC/USDT",)))
        return [Parcel(candles(range(3)), {})]

    written = table.write_parcels(choose)
    assert seen == [-1, 0, 1]
    assert written is not None
    assert written.version == 2
    assert table.write_parcels(lambda _id, _version: []) is None
