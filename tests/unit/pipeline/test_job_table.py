"""Any table that people send, as typed columns; what cannot be learned from is refused with what to do."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from springtide.domain.errors import BadRows, TooFewRows
from springtide.domain.job import JobParams
from springtide.pipeline.jobs.table import JobTable, cut, read_table
from springtide.trainers.task import Column

if TYPE_CHECKING:
    from collections.abc import Callable


def csv(*, rows: int = 60, separator: str = ",", target: Callable[[int], object] = lambda n: n % 7) -> bytes:
    lines = [separator.join(["day", "town", "size", "sold"])]
    for number in range(rows):
        day = f"2024-{1 + number // 28:02}-{1 + number % 28:02}"
        lines.append(separator.join([day, f"t{number % 3}", str(number / 2), str(target(number))]))
    return "\n".join(lines).encode()


def read(data: bytes, name: str = "sales.csv", **params: Any) -> JobTable:
    return read_table(data, name, JobParams(**{"target": "sold", **params}))


def test_columns_get_the_kind_of_what_they_hold() -> None:
    table = read(csv())
    assert table.columns == (Column("day", "date"), Column("town", "category"), Column("size", "number"))
    assert (table.question, table.classes, table.frame.height) == ("regression", (), 60)


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_any_usual_separator_is_understood(separator: str) -> None:
    assert read(csv(separator=separator)).frame.equals(read(csv()).frame)


def test_a_parquet_file_gives_the_same_table_as_the_csv() -> None:
    file = io.BytesIO()
    pl.read_csv(csv(), try_parse_dates=True).write_parquet(file)
    assert read(file.getvalue(), "sales.parquet").frame.equals(read(csv()).frame)


def test_a_byte_order_mark_and_quoted_newlines_are_read_as_what_they_are() -> None:
    lines = ["name,sold", *(f'"first\nsecond {n % 3}",{n}' for n in range(50))]
    table = read(b"\xef\xbb\xbf" + "\n".join(lines).encode())
    assert table.frame["name"][0] == "first\nsecond 0"


def test_what_looks_like_a_formula_stays_text() -> None:
    lines = ["note,sold", *(f"=1+{n % 4},{n}" for n in range(50))]
    table = read("\n".join(lines).encode())
    assert table.columns == (Column("note", "category"),)
    assert table.frame["note"][1] == "=1+1"


def test_rows_come_in_the_order_of_time_where_a_column_says_it() -> None:
    lines = csv().decode().splitlines()
    turned = "\n".join([lines[0], *reversed(lines[1:])]).encode()
    assert read(turned, time="day").frame.equals(read(csv(), time="day").frame)


@pytest.mark.parametrize(
    ("values", "question", "classes"),
    [
        (lambda n: "yes" if n % 3 else "no", "binary", ("no", "yes")),
        (lambda n: n % 2, "binary", ("0", "1")),
        (lambda n: f"c{n % 4}", "multiclass", ("c0", "c1", "c2", "c3")),
        (lambda n: n * 1.5, "regression", ()),
    ],
)
def test_what_is_asked_is_told_from_the_target(
    values: Callable[[int], object], question: str, classes: tuple[str, ...]
) -> None:
    table = read(csv(target=values))
    assert (table.question, table.classes) == (question, classes)


def test_rows_without_a_target_and_columns_without_a_value_are_left_out_and_told() -> None:
    lines = ["size,empty,sold", *(f"{n},,{n if n % 10 else ''}" for n in range(60))]
    table = read("\n".join(lines).encode())
    assert table.frame.height == 54
    assert table.columns == (Column("size", "number"),)
    assert table.notes == (
        "6 rows without a target were left out",
        "column 'empty' has no value and was left out",
    )


@pytest.mark.parametrize(
    ("data", "params", "what"),
    [
        (csv(), {"target": "solt"}, "there is no column 'solt'"),
        (csv(), {"features": ("sice",)}, "there is no column 'sice'"),
        (csv(), {"time": "town"}, "column 'town' holds no times"),
        (csv(target=lambda _n: "same"), {}, "has one value only: 'same'"),
        (csv(target=lambda _n: ""), {}, "has no value at all"),
        (csv(target=lambda n: f"c{n}"), {"question": "regression"}, "is no number: 'c0'"),
        (csv(target=lambda n: f"c{n % 3}"), {"question": "binary"}, "3 classes where two were asked for"),
        (b"", {}, "the file is empty"),
        (b"day,town\n", {}, "a header and no rows"),
        (b"1,2\n3,4\n" * 40, {}, "no names of columns"),
        (b"sold,sold\n" + b"1,2\n" * 40, {}, "two columns are called 'sold'"),
        (csv().decode().encode("utf-16"), {}, "the text is not UTF-8"),
        ("größe,sold\n".encode("latin-1") + b"1,2\n" * 40, {}, "not UTF-8"),
        (b"PAR1 this is no parquet", {}, "cannot be read as Parquet"),
        (b"\x1f\x8b truncated", {}, "cannot be read as gzip"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_with_its_reason(data: bytes, params: dict[str, Any], what: str) -> None:
    with pytest.raises(BadRows) as refused:
        read(data, **params)
    assert what in refused.value.what
    assert refused.value.do


def test_too_few_rows_are_refused_with_how_many_are_needed() -> None:
    with pytest.raises(TooFewRows, match="30 rows with a target"):
        read(csv(rows=30))


def test_the_latest_rows_judge_and_rows_of_one_time_stay_together() -> None:
    lines = ["day,size,sold", *(f"2024-01-{1 + n // 10:02},{n},{n}" for n in range(200))]
    parts = cut(read("\n".join(lines).encode(), time="day"), 0.25, not_before=None)
    assert (parts.training.height, parts.judging.height) == (150, 50)
    assert parts.training["day"].max() < parts.judging["day"].min()  # type: ignore[operator] # datetimes


def test_what_the_champion_has_seen_does_not_judge() -> None:
    lines = ["day,size,sold", *(f"2024-01-{1 + n // 10:02},{n},{n}" for n in range(200))]
    table = read("\n".join(lines).encode(), time="day")
    parts = cut(table, 0.5, not_before=datetime(2024, 1, 15, tzinfo=UTC))
    assert parts.judging["day"].min() == datetime(2024, 1, 16)  # noqa: DTZ001 # the table's times are UTC without a zone
    with pytest.raises(TooFewRows, match="which the champion has seen"):
        cut(table, 0.5, not_before=datetime(2024, 1, 19, tzinfo=UTC))
