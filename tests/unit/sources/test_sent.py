"""What a sender may post, and what each kind of bad batch is told."""

from __future__ import annotations

import io
import json
import random
import threading
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
import psutil
import pytest

from springtide.domain.errors import BadRows, SpringtideError, TooLarge
from springtide.settings.words import RowsSource
from springtide.sources.sent import cells
from springtide.sources.sent.batch import read_sent

if TYPE_CHECKING:
    from springtide.sources.sent.batch import Sent
    from springtide.sources.sent.cells import Form

NOW = datetime(2024, 6, 1, tzinfo=UTC)
COUNTS = RowsSource(
    kind="rows", values={"y": "number", "n": "integer", "note": "text"}, columns={"ds": "day"}, tolerance=0.5
)
HEADER = "day,y,n,note\n"
GOOD = "2024-01-01,1.5,3,fine\n"


def read(data: str | bytes, source: RowsSource = COUNTS, form: Form = "csv", region: str = "tver") -> Sent:
    return read_sent(
        data.encode() if isinstance(data, str) else data, source, form=form, region=region, now=NOW, where="a batch"
    )


def values(sent: Sent) -> list[tuple[Any, ...]]:
    return sent.rows.select("ds", "y", "n", "note").rows()


def parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


FIRST = datetime(2024, 1, 1, tzinfo=UTC)
SAME_ROWS: dict[str, tuple[bytes, Form]] = {
    "comma": ((HEADER + GOOD).encode(), "csv"),
    "semicolon": (b"day;y;n;note\n2024-01-01;1.5;3;fine\n", "csv"),
    "tab": (b"day\ty\tn\tnote\n2024-01-01\t1.5\t3\tfine\n", "csv"),
    "a byte order mark": (b"\xef\xbb\xbf" + (HEADER + GOOD).encode(), "csv"),
    "windows line ends": ((HEADER + GOOD).replace("\n", "\r\n").encode(), "csv"),
    "decimal commas": (b"day;y;n;note\n2024-01-01;1,5;3;fine\n", "csv"),
    "quotes": (b'"day","y","n","note"\n"2024-01-01","1.5","3","fine"\n', "csv"),
    "another order of columns": (b"note,n,y,day\nfine,3,1.5,2024-01-01\n", "csv"),
    "a list of objects": (b'[{"day":"2024-01-01","y":1.5,"n":3,"note":"fine"}]', "json"),
    "an object with rows": (b'{"rows":[{"day":"2024-01-01","y":"1.5","n":3,"note":"fine"}]}', "json"),
    "an object a line": (b'{"day":1704067200,"y":1.5,"n":3.0,"note":"fine"}\n', "json"),
    "parquet": (parquet(pl.DataFrame({"day": [date(2024, 1, 1)], "y": [1.5], "n": [3], "note": ["fine"]})), "parquet"),
    "parquet of other types": (
        parquet(
            pl.DataFrame(
                {"day": ["2024-01-01"], "y": [1.5], "n": [3.0], "note": ["fine"]},
                schema_overrides={"y": pl.Float32, "note": pl.Categorical},
            )
        ),
        "parquet",
    ),
}


@pytest.mark.parametrize("name", SAME_ROWS)
def test_however_a_row_is_written_it_is_the_same_row(name: str) -> None:
    data, form = SAME_ROWS[name]
    sent = read(data, form=form)
    assert values(sent) == [(FIRST, 1.5, 3, "fine")]
    assert sent.rows["unique_id"].to_list() == sent.rows["region"].to_list() == ["tver"]
    assert (sent.faulty, sent.count) == ((), 1)


REFUSED: dict[str, tuple[bytes, Form, str]] = {
    "nothing": (b"", "csv", "no table"),
    "a header alone": (HEADER.encode(), "csv", "a header and no rows"),
    "a separator that nobody uses": (b"day^y^n^note\n2024-01-01^1^2^a\n", "csv", "no table of two columns or more"),
    "no header": (b"1,2,3,4\n5,6,7,8\n", "csv", "no header row"),
    "no such column": (b"day,y,n\n2024-01-01,1,2\n", "csv", "no column 'note'"),
    "a column too many": (b"day,y,n,note,z\n2024-01-01,1,2,a,b\n", "csv", "the table has no column 'z'"),
    "a column twice": (b"day,y,n,note,y\n2024-01-01,1,2,a,3\n", "csv", "two columns are named 'y'"),
    "another encoding": ((HEADER + "2024-01-01,1,2,Тверь\n").encode("cp1251"), "csv", "not UTF-8"),
    "utf-16": ((HEADER + GOOD).encode("utf-16"), "csv", "not UTF-8"),
    "a row with too many cells": ((HEADER + GOOD + "2024-01-02,1,2,a,b\n").encode(), "csv", "5 cells"),
    "gzip": (b"\x1f\x8b\x08\x00" + b"\x00" * 40, "csv", "not UTF-8"),
    "all rows without a value": ((HEADER + "2024-01-01,,,\n2024-01-02,,,\n").encode(), "csv", "no value in any column"),
    "commas in numbers between commas": (b'day,y,n,note\n2024-01-01,"1,5",3,a\n', "csv", "y is no number: 1,5"),
    "commas and points": (
        b"day;y;n;note\n2024-01-01;1,5;3;a\n2024-01-02;1,7;3;a\n2024-01-03;2.5;3;a\n",
        "csv",
        "y is no number: 1,5",
    ),
    "no JSON": (b'[{"day": ', "json", "the JSON cannot be read"),
    "JSON that is not UTF-8": (b'[{"day": "\xff"}]', "json", "the JSON cannot be read"),
    "JSON that is deep": (b"[" * 100_000, "json", "the JSON cannot be read"),
    "an empty list": (b"[]", "json", "no rows"),
    "numbers instead of rows": (b"[1, 2]", "json", "row 1 is no object"),
    "a nested value": (b'[{"day":"2024-01-01","y":[1],"n":1,"note":""}]', "json", "row 1: 'y' holds a list"),
    "no Parquet": (b"day,y\n", "parquet", "cannot be read as Parquet"),
    "Parquet cut off": (SAME_ROWS["parquet"][0][:-20], "parquet", "cannot be read as Parquet"),
    "Parquet with a hole": (
        SAME_ROWS["parquet"][0][:8] + b"\xff" * 60 + SAME_ROWS["parquet"][0][68:],
        "parquet",
        "the values cannot be read",
    ),
    "lists instead of numbers": (
        parquet(pl.DataFrame({"day": [date(2024, 1, 1)], "y": [[1.5]], "n": [3], "note": ["a"]})),
        "parquet",
        "column 'y' holds List(Float64), not a number",
    ),
    "numbers instead of text": (
        parquet(pl.DataFrame({"day": [date(2024, 1, 1)], "y": [1.5], "n": [3], "note": [5]})),
        "parquet",
        "column 'note' holds Int64, not text",
    ),
    "truths instead of times": (
        parquet(pl.DataFrame({"day": [True], "y": [1.5], "n": [3], "note": ["a"]})),
        "parquet",
        "column 'day' holds Boolean, not a time",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_batch_that_makes_no_sense_is_refused_and_told_why(name: str) -> None:
    data, form, why = REFUSED[name]
    with pytest.raises(BadRows) as refused:
        read(data, form=form)
    assert why in refused.value.what or (name == "nothing" and "empty" in refused.value.what)
    assert refused.value.where.startswith("a batch")
    assert refused.value.do


FAULTS = {
    "soon,1,2,a": "day is no time of the years 1900 to 2199: soon",
    ",1,2,a": "no day",
    "2024-06-03,1,2,a": "day is still to come: 2024-06-03",
    "0000-01-01,1,2,a": "day is no time of the years 1900 to 2199: 0000-01-01",
    "1899-12-31,1,2,a": "day is no time of the years 1900 to 2199: 1899-12-31",
    "9999-12-31,1,2,a": "day is no time of the years 1900 to 2199: 9999-12-31",
    "1900-01-01T00:00:00+03:00,1,2,a": "day is no time of the years 1900 to 2199: 1900-01-01T00:00:00+03:00",
    "2024-01-02,much,2,a": "y is no number: much",
    "2024-01-02,nan,2,a": "y is no number: nan",
    "2024-01-02,-inf,2,a": "y is no number: -inf",
    "2024-01-02,=1+1,2,a": "y is no number: =1+1",
    "2024-01-02,1,2.5,a": "n is no integer: 2.5",
    "2024-01-02,1,99999999999999999999,a": "n is no integer: 99999999999999999999",
    "2024-01-02,,,": "no value in any column",
    '2024-01-02,"1\n2",2,a': "y is no number: 1 2",
    "2024-01-02,1,2," + "a" * 10_001: "note is longer than 10,000 bytes",
}


@pytest.mark.parametrize("line", FAULTS, ids=lambda line: line[:30].replace("\n", " "))
def test_a_bad_row_is_named_with_its_reason_and_the_good_ones_are_taken(line: str) -> None:
    sent = read(HEADER + GOOD + line + "\n")
    assert [(row.row, row.reason) for row in sent.faulty] == [(2, FAULTS[line])]
    assert values(sent) == [(FIRST, 1.5, 3, "fine")]
    assert len(sent.faulty[0].cells) <= 1_000


FAR_OFF: dict[str, tuple[pl.DataType, int]] = {
    "a date": (pl.Date(), 2**31 - 1),
    "a date before all": (pl.Date(), -(2**31)),
    "milliseconds": (pl.Datetime("ms"), 2**62),
    "microseconds of a zone": (pl.Datetime("us", "Europe/Moscow"), -(2**62)),
    "nanoseconds": (pl.Datetime("ns"), 2**63 - 1),
}


@pytest.mark.parametrize("name", FAR_OFF)
def test_a_date_or_time_in_parquet_that_no_calendar_holds_is_a_bad_row(name: str) -> None:
    dtype, number = FAR_OFF[name]
    days = pl.Series([0, number], dtype=pl.Int32 if dtype == pl.Date() else pl.Int64).cast(dtype)
    sent = read(parquet(pl.DataFrame({"day": days, "y": [1.0, 2.0], "n": 1, "note": ""})), form="parquet")
    assert [(row.row, row.reason) for row in sent.faulty] == [
        (2, f"day is no time of the years 1900 to 2199: {number}")
    ]
    assert f'"ds":"{number}"' in sent.faulty[0].cells
    assert [row[0] for row in values(sent)] == [datetime(1970, 1, 1, tzinfo=UTC)]


def test_a_time_beside_the_time_of_a_row_has_the_same_bounds() -> None:
    times = pl.Series([0, 2**31 - 1], dtype=pl.Int32).cast(pl.Date)
    data = parquet(pl.DataFrame({"ds": [date(2024, 1, 1), date(2024, 1, 2)], "at": times}))
    source = RowsSource(kind="rows", values={"at": "time"}, tolerance=0.5)
    sent = read(data, source, form="parquet")
    assert [row.reason for row in sent.faulty] == ["at is no time of the years 1900 to 2199: 2147483647"]
    assert sent.rows["at"].to_list() == [datetime(1970, 1, 1, tzinfo=UTC)]


@pytest.mark.parametrize("text", ["=1+1", "+7 900", "-5", "@SUM(A1)", "=cmd|' /C calc'!A0", "  spaced  "])
def test_a_formula_in_a_text_column_stays_the_text_that_it_is(text: str) -> None:
    sent = read(HEADER + f'2024-01-01,1,2,"{text}"\n')
    assert sent.rows["note"].to_list() == [text]


def test_a_line_break_in_quotes_is_part_of_its_cell() -> None:
    sent = read(HEADER + '2024-01-01,1,2,"one\ntwo"\n2024-01-02,1,2,"a ""b"", c"\n')
    assert sent.rows["note"].to_list() == ["one\ntwo", 'a "b", c']


def test_decimal_commas_are_read_where_cells_are_not_separated_by_commas_and_a_bad_cell_is_named() -> None:
    sent = read("day;y;n;note\n2024-01-01;1\u00a0234,5;3;a, b\n2024-01-02;1,2,3;3;1,5\n2024-01-03;7;3;1,5\n")
    assert [row[1] for row in values(sent)] == [1234.5, 7.0]
    assert values(sent)[1][3] == "1,5"
    assert [(row.row, row.reason) for row in sent.faulty] == [(2, "y is no number: 1,2,3")]


def test_a_missing_value_beside_others_is_a_null() -> None:
    assert values(read(HEADER + "2024-01-01,,2,\n")) == [(FIRST, None, 2, None)]


def test_not_a_number_in_parquet_is_a_missing_value() -> None:
    frame = pl.DataFrame({"day": [date(2024, 1, 1)], "y": [float("nan")], "n": [3], "note": ["a"]})
    assert values(read(parquet(frame), form="parquet")) == [(FIRST, None, 3, "a")]


def test_more_bad_rows_than_are_tolerated_refuse_the_batch() -> None:
    with pytest.raises(BadRows, match="2 of 3 rows cannot be taken; row 2: no day"):
        read(HEADER + GOOD + ",1,2,a\n,1,2,b\n")


def test_a_batch_of_bad_rows_alone_is_refused_however_much_is_tolerated() -> None:
    with pytest.raises(BadRows, match="1 of 1 rows"):
        read(HEADER + "soon,1,2,a\n", COUNTS.model_copy(update={"tolerance": 1.0}))


def test_a_row_that_comes_twice_is_one_row_and_two_that_contradict_each_other_are_none() -> None:
    sent = read(HEADER + GOOD + GOOD + "2024-01-02,1,2,a\n2024-01-03,1,2,a\n2024-01-03,9,2,a\n")
    assert [row[0].day for row in values(sent)] == [1, 2]
    assert [(row.row, row.reason) for row in sent.faulty] == [
        (4, "another row of the batch has its key and other values"),
        (5, "another row of the batch has its key and other values"),
    ]


SHOPS = RowsSource(
    kind="rows",
    values={"y": "number", "item": "text", "open": "boolean", "at": "time"},
    columns={"unique_id": "shop"},
    key=("item",),
    timeframe="1h",
    tolerance=0.9,
)


def test_a_series_begins_with_the_name_of_its_region_and_a_further_key_tells_its_rows_apart() -> None:
    head, rest = "ds,shop,item,y,open,at\n", ",yes,2024-01-01T03:00:00+03:00\n"
    sent = read(
        head
        + f"2024-01-01 01:00,7,bread,1{rest}".replace("yes", "TRUE")
        + f"2024-01-01 01:00,7,milk,2{rest}".replace("yes", "0")
        + f"2024-01-01 01:00,7,salt,2{rest}"
        + f"2024-01-01 01:30,7,milk,2{rest}".replace("yes", "1")
        + f"2024-01-01 01:00,,milk,2{rest}"
        + f"2024-01-01 01:00,7,,2{rest}",
        SHOPS,
    )
    assert sent.rows.select("unique_id", "region", "item", "open").rows() == [
        ("tver/7", "tver", "bread", True),
        ("tver/7", "tver", "milk", False),
    ]
    assert sent.rows["at"].to_list() == [FIRST, FIRST]
    assert [row.reason for row in sent.faulty] == [
        "open is no true or false: yes",
        "ds is no step of 1h: 2024-01-01 01:30",
        "no shop",
        "no item",
    ]


def test_a_file_of_a_few_bytes_that_holds_a_thousand_million_rows_is_refused_before_it_is_unpacked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cells, "MOST_ROWS", 1_000)
    many = pl.DataFrame({"day": [date(2024, 1, 1)], "y": [1.0], "n": [1], "note": [""]})
    data = parquet(pl.concat([many] * 2_000))
    with pytest.raises(TooLarge, match="2,000 rows in one batch"):
        read(data, form="parquet")


def test_no_error_is_other_than_one_that_a_person_can_fix(random_bytes: list[bytes]) -> None:
    for data in random_bytes:
        for form in ("csv", "json", "parquet"):
            with pytest.raises(SpringtideError):
                read(data, form=form)


BOMBS = {
    "one text that is kept once and repeated": (["x" * 10_000] * 20_000, "snappy"),
    "many texts that pack well": ([f"{at:010}" + "x" * 9_990 for at in range(8_000)], "zstd"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_that_unpacks_to_a_large_one_is_refused_before_it_is_unpacked(name: str) -> None:
    notes, compression = BOMBS[name]
    days = pl.datetime_range(FIRST, FIRST + timedelta(hours=len(notes) - 1), "1h", eager=True) - timedelta(days=3000)
    buffer = io.BytesIO()
    pl.DataFrame({"day": days, "y": 1.0, "n": 1, "note": notes}).write_parquet(buffer, compression=compression)  # type: ignore[arg-type] # a str
    data, process = buffer.getvalue(), psutil.Process()
    assert len(data) < 300_000
    before, most, over = process.memory_info().rss, 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.002):
            most = max(most, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with pytest.raises(TooLarge, match="unpacks to more than 67,108,864 bytes"):
        read(data, COUNTS.model_copy(update={"max_body": 1_000_000}), form="parquet")
    over.set()
    watcher.join()
    assert most - before < 60 << 20


def test_what_a_larger_body_may_unpack_to_is_larger() -> None:
    data = parquet(pl.DataFrame({"day": [date(2024, 1, 1)] * 8_000, "y": 1.0, "n": 1, "note": "x" * 9_000}))
    assert read(data, COUNTS, form="parquet").count == 8_000
    with pytest.raises(TooLarge):
        read(data, COUNTS.model_copy(update={"max_body": 1_000_000}), form="parquet")


def test_a_parquet_file_with_a_few_changed_bytes_is_read_or_refused_and_breaks_nothing() -> None:
    days = [date(2024, 1, 1 + day) for day in range(30)]
    good = parquet(pl.DataFrame({"day": days, "y": [float(day) for day in range(30)], "n": 3, "note": "a"}))
    chance, panics = random.Random(5), 0
    for _ in range(400):
        changed = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            changed[chance.randrange(len(good))] = chance.randrange(256)
        try:
            read(bytes(changed), form="parquet")
        except BadRows as error:
            panics += isinstance(error.__cause__, pl.exceptions.PanicException)
        except SpringtideError:
            pass
    assert panics > 0  # what reads Parquet gives up in its own way at some of them


@pytest.fixture
def random_bytes() -> list[bytes]:
    """Good batches with bytes changed, cut and repeated."""
    chance, found = random.Random(5), []
    for data, _ in SAME_ROWS.values():
        for _ in range(4):
            broken = bytearray(data)
            del broken[chance.randrange(1, len(broken)) :]
            broken[chance.randrange(len(broken))] = 0
            found.append(bytes(broken))
    found += [json.dumps({"rows": {}}).encode(), b"null", b'"text"', b"{}", b"PAR1" * 10]
    return found
