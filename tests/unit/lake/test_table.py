"""A table on a local folder: what it takes, what it refuses, and what a plain dict would hold."""

from __future__ import annotations

import math
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from springtide.domain.errors import BadRows, Conflict, NotFound, SettingsError, TooFewRows
from springtide.domain.rows import Filter
from springtide.lake.columns import MOMENT
from springtide.lake.tables import Lake

START = datetime(2024, 1, 1, tzinfo=UTC)
SCHEMA = {"unique_id": pl.String(), "ds": MOMENT, "Adj Close": pl.Float64(), "note": pl.String()}
Line = tuple[str, int, float | None, str | None]


def at(hour: float) -> datetime:
    return START + timedelta(hours=hour)


def frame(*lines: Line) -> pl.DataFrame:
    return pl.DataFrame([(series, at(hour), *values) for series, hour, *values in lines], schema=SCHEMA, orient="row")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


lines = st.lists(
    st.tuples(
        st.sampled_from(["BTC/USDT", "it's", "c"]),
        # a millisecond is all that the statistics of a file tell of a time, a row may be between two
        st.integers(0, 12) | st.sampled_from([0.5, 3 + 1e-6 / 3.6, 12 + 1e-6 / 3.6]),
        st.none() | st.floats(allow_infinity=False, width=16),
        st.none() | st.sampled_from(["x", ""]),
    ),
    max_size=6,
    unique_by=lambda line: line[:2],
)


def plain(value: Any) -> Any:
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


@settings(max_examples=25, deadline=None)
@given(st.lists(lines, min_size=1, max_size=4), st.integers(0, 4))
def test_a_sequence_of_writes_leaves_what_a_dict_would_hold(batches: list[list[Line]], compact_after: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        table = Lake(folder).open("t")
        held: dict[tuple[str, datetime], tuple[Any, ...]] = {}
        versions = []
        for number, batch in enumerate(batches):
            rows = frame(*batch)
            incoming = {row[:2]: tuple(map(plain, row[2:])) for row in rows.iter_rows()}
            new = len(incoming.keys() - held.keys())
            corrected = sum(key in held and held[key] != values for key, values in incoming.items())
            written = table.write(rows)
            assert (written.new, written.corrected) == (new, corrected)
            assert written.unchanged == len(incoming) - new - corrected
            held |= incoming
            versions.append((table.version(), dict(held)))
            if number == compact_after and held:
                table.compact()
        for version, then in versions:
            if version >= 0:
                got = {row[:2]: tuple(map(plain, row[2:])) for row in table.scan(version).collect().iter_rows()}
                assert got == then
                assert table.scan(version).collect().height == len(then)


@settings(max_examples=25, deadline=None)
@given(st.lists(lines, min_size=1, max_size=3), st.integers(1, 5))
def test_the_newest_rows_are_the_last_of_each_series(batches: list[list[Line]], steps: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        table = Lake(folder).open("t", step_s=60)
        for batch in batches:
            table.write(frame(*batch))
        if any(batches):
            everything = table.scan().collect().sort("unique_id", "ds")
            assert table.newest(Filter(), steps=steps).equals(
                everything.group_by("unique_id", maintain_order=True).tail(steps)
            )


def test_rows_that_say_nothing_new_make_no_version(lake: Lake) -> None:
    table = lake.open("t")
    table.write(frame(("a", 0, 1.0, None)))
    assert table.write(frame(("a", 0, 1.0, None))).version == 0
    assert table.write(frame()).version == 0
    assert table.version() == 0


def test_nothing_written_to_a_table_that_is_not_there_creates_nothing(lake: Lake) -> None:
    assert lake.open("t").write(frame()).version == -1
    assert lake.names() == []


def test_a_mark_moves_together_with_the_rows_or_alone(lake: Lake) -> None:
    table = lake.open("t")
    assert table.mark("binance") is None
    table.write(frame(("a", 0, 1.0, None)), marks={"binance": 5})
    assert table.write(frame(), marks={"binance": 6}).version == 1
    assert table.write(frame(), marks={"binance": 6}).version == 1
    table.write(frame(("a", 0, 2.0, None)), marks={"other": 1})
    assert (table.mark("binance"), table.mark("other")) == (6, 1)


def test_a_mark_can_be_moved_before_there_is_any_row(lake: Lake) -> None:
    table = lake.open("t")
    table.write(frame(), marks={"binance": 5})
    assert table.mark("binance") == 5
    with pytest.raises(TooFewRows):
        table.newest(Filter(), steps=1)
    assert table.facts() == []


def test_marks_outlive_checkpoints_and_compaction(lake: Lake) -> None:
    table = lake.open("t")
    for hour in range(53):
        table.write(frame(("a", hour, 1.0, None)), marks={"first": 1} if hour == 0 else {"later": hour})
    assert [path.name for path in Path(table.place.uri("t")).glob("_delta_log/*.checkpoint.parquet")] == [
        "00000000000000000050.checkpoint.parquet"
    ]
    table.compact()
    assert (table.mark("first"), table.mark("later")) == (1, 52)
    assert table.scan(3).collect().height == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop("note"), "lack column 'note'"),
        (lambda rows: rows.with_columns(pl.lit(1).alias("extra")), "no column 'extra'"),
        (lambda rows: rows.with_columns(pl.col("Adj Close").cast(pl.Float32)), "'Adj Close' is Float32"),
        (lambda rows: rows.with_columns(pl.col("ds").dt.cast_time_unit("ms")), "'ds' is Datetime"),
        (lambda rows: rows.with_columns(pl.lit(None, pl.String()).alias("unique_id")), "no 'unique_id'"),
        (lambda rows: pl.concat([rows, rows.with_columns(pl.lit("other").alias("note"))]), "key of another row"),
    ],
)
def test_rows_of_another_form_are_refused_by_the_name_of_the_column(lake: Lake, change: Any, message: str) -> None:
    table = lake.open("t")
    table.write(frame(("a", 0, 1.0, None)))
    with pytest.raises(BadRows, match=message):
        table.write(change(frame(("a", 1, 1.0, None))))
    assert table.version() == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop("ds"), "no column 'ds'"),
        (lambda rows: rows.with_columns(pl.col("ds").dt.replace_time_zone(None)), "'ds' is Datetime"),
        (lambda rows: rows.with_columns(pl.lit(1, pl.UInt8()).alias("n")), "'n' is UInt8"),
    ],
)
def test_a_first_frame_that_a_table_cannot_hold_is_refused(lake: Lake, change: Any, message: str) -> None:
    with pytest.raises(BadRows, match=message):
        lake.open("t").write(change(frame(("a", 0, 1.0, None))))
    assert lake.names() == []


def test_the_order_of_the_columns_does_not_matter(lake: Lake) -> None:
    table = lake.open("t")
    table.write(frame(("a", 0, 1.0, None)))
    written = table.write(frame(("a", 0, 1.0, None), ("a", 1, 1.0, None)).select(sorted(SCHEMA)))
    assert (written.new, written.unchanged) == (1, 1)


def test_a_table_remembers_its_key_and_its_step(lake: Lake) -> None:
    key = ("unique_id", "ds", "note")
    lake.open("t", key=key, step_s=3600).write(frame(("a", 0, 1.0, "x"), ("a", 0, 2.0, "y")))
    table = lake.table("t")
    assert (table.key, table.step_s) == (key, 3600)
    assert lake.open("t", key=key).step_s == 3600


def test_another_timeframe_or_another_key_is_refused_even_by_one_that_opened_it_before(lake: Lake) -> None:
    early = lake.open("t", step_s=60)
    lake.open("t", step_s=3600).write(frame(("a", 0, 1.0, None)))
    with pytest.raises(BadRows, match="a row every 1h, the incoming rows have a row every 1m"):
        lake.open("t", step_s=60)
    with pytest.raises(BadRows, match="mixed timeframes"):
        early.write(frame(("a", 1, 1.0, None)))
    with pytest.raises(BadRows, match="named by unique_id, ds, not by"):
        lake.open("t", key=("unique_id", "ds", "note"), step_s=3600)


def test_a_key_without_a_time_is_refused(lake: Lake) -> None:
    with pytest.raises(SettingsError, match="does not place a row"):
        lake.open("t", key=("unique_id",))


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "ä"])
def test_a_name_that_is_not_a_folder_of_its_own_is_refused(lake: Lake, name: str) -> None:
    with pytest.raises(SettingsError):
        lake.open(name)


def test_a_table_that_is_not_there_is_named_with_the_nearest_that_is(lake: Lake) -> None:
    lake.open("binance").write(frame(("a", 0, 1.0, None)))
    with pytest.raises(NotFound, match="did you mean 'binance'"):
        lake.table("binnance")


def test_a_version_that_is_not_there_is_not_found(lake: Lake) -> None:
    table = lake.open("t")
    table.write(frame(("a", 0, 1.0, None)))
    with pytest.raises(NotFound, match="no version 7"):
        table.scan(7)


def test_a_snapshot_names_the_series_it_does_not_find(lake: Lake) -> None:
    table = lake.open("t")
    table.write(frame(("BTC/USDT", 0, 1.0, None)))
    with pytest.raises(NotFound, match="did you mean 'BTC/USDT'"):
        table.snapshot(Filter(("BTC/USD",)))
    with pytest.raises(TooFewRows):
        table.snapshot(Filter(start=at(1)))


def test_a_series_that_is_there_at_another_time_is_not_offered_in_its_own_place(lake: Lake) -> None:
    table = lake.open("t")
    table.write(frame(("a", 0, 1.0, None), ("b", 5, 1.0, None)))
    with pytest.raises(NotFound, match="no rows of b ") as refused:
        table.snapshot(Filter(("b",), end=at(3)))
    assert refused.value.do == "bring in its rows of that time, or ask for another span"


def test_the_series_of_a_span_are_those_that_have_a_row_in_it(lake: Lake) -> None:
    table = lake.open("t")
    table.write(frame(("b", 0, 1.0, None), ("a", 0, 1.0, None), ("c", 5, 1.0, None)))
    assert table.series(Filter()) == ("a", "b", "c")
    assert table.series(Filter(("b", "c"), end=at(3))) == ("b",)
    assert table.series(Filter(("c",), end=at(3))) == ()


def test_a_time_without_a_zone_is_refused(lake: Lake) -> None:
    table = lake.open("t")
    table.write(frame(("a", 0, 1.0, None)))
    with pytest.raises(SettingsError, match="time zone"):
        table.snapshot(Filter(start=datetime(2024, 1, 1)))  # noqa: DTZ001 # the mistake this is about


def test_the_start_of_a_filter_is_included_and_its_end_is_not(lake: Lake) -> None:
    table = lake.open("t")
    table.write(frame(*((series, hour, 1.0, None) for series in "ab" for hour in range(6))))
    snapshot = table.snapshot(Filter(("a",), start=at(1), end=at(4)))
    assert (snapshot.rows, snapshot.first, snapshot.last) == (3, at(1), at(3))
    assert table.rows(snapshot).collect()["ds"].to_list() == [at(1), at(2), at(3)]


def test_a_snapshot_keeps_its_rows_and_its_hash_through_corrections_and_compaction(lake: Lake) -> None:
    table = lake.open("t")
    for hour in range(4):
        table.write(frame(("b", hour, 1.0, None), ("a", hour, 2.0, None)))
    snapshot = table.snapshot(Filter())
    rows = table.rows(snapshot).collect()
    table.compact()
    assert table.snapshot(Filter()).sha256 == snapshot.sha256
    table.write(frame(("a", 2, 2.5, None)))
    assert table.snapshot(Filter()).sha256 != snapshot.sha256
    table.verify(snapshot)
    assert table.rows(snapshot).collect().equals(rows)


def test_the_order_in_which_rows_came_does_not_change_the_hash(lake: Lake) -> None:
    rows = frame(*((series, hour, hour / 3, None) for series in "abc" for hour in range(5)))
    lake.open("once").write(rows)
    for seed in range(3):
        lake.open("piecemeal").write(rows.sample(8, seed=seed))
    lake.open("piecemeal").write(rows.reverse())
    assert lake.table("once").snapshot(Filter()).sha256 == lake.table("piecemeal").snapshot(Filter()).sha256


def test_a_table_that_was_replaced_does_not_pass_for_the_one_that_was_learned_from(lake: Lake) -> None:
    one, other = lake.open("one"), lake.open("other")
    one.write(frame(("a", 0, 1.0, None)))
    other.write(frame(("a", 0, 1.5, None)))
    with pytest.raises(Conflict, match="another hash"):
        other.verify(one.snapshot(Filter()))


def test_vacuum_keeps_the_newest_and_the_kept_versions_and_frees_the_rest(lake: Lake) -> None:
    table = lake.open("t")
    for value in range(4):
        table.write(frame(("a", 0, float(value), None)))
    kept = table.snapshot(Filter(), version=1)
    assert table.vacuum() == 0  # young files may belong to a write that is under way
    assert table.vacuum([1], retention_hours=0) == 2
    table.verify(kept)
    assert table.scan().collect()["Adj Close"].to_list() == [3.0]
    with pytest.raises(NotFound, match="files of this version are gone"):
        table.snapshot(Filter(), version=0)


def test_the_history_tells_what_each_version_brought(lake: Lake) -> None:
    table = lake.open("t")
    table.write(frame(("a", 0, 1.0, None)))
    table.write(frame(("a", 0, 1.5, None), ("a", 1, 1.0, None)))
    assert [(line.version, line.new, line.corrected) for line in table.history()] == [(1, 1, 1), (0, 1, 0)]
    assert table.history()[0].at.tzinfo is UTC


def test_a_series_that_ended_long_ago_still_has_its_newest_rows(lake: Lake) -> None:
    table = lake.open("t", step_s=3600)
    table.write(frame(*(("old", hour, 1.0, None) for hour in range(5)), ("new", 9_000, 1.0, None)))
    newest = table.newest(Filter(("old", "new")), steps=2)
    assert newest.select("unique_id", "ds").rows() == [("new", at(9_000)), ("old", at(3)), ("old", at(4))]


def test_more_steps_than_there_ever_were_give_every_row(lake: Lake) -> None:
    table = lake.open("t", step_s=3600)
    table.write(frame(*(("a", hour, 1.0, None) for hour in range(5))))
    assert table.newest(Filter(("a",)), steps=10**8).height == 5


def test_the_newest_rows_of_an_unknown_series_are_not_found(lake: Lake) -> None:
    table = lake.open("t")
    table.write(frame(("BTC/USDT", 0, 1.0, None)))
    with pytest.raises(NotFound, match="did you mean"):
        table.newest(Filter(("BTC-USDT",)), steps=1)
