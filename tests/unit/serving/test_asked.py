"""Cells of a request: what each kind of column takes, and what it is told that it does not."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from springtide.domain.errors import BadRows
from springtide.serving.asked import Asked, read_cells

DAY = np.datetime64("2026-01-31", "us")


def read(cell: object, kind: str) -> Any:
    (found,) = read_cells([cell], "c", kind, where="rows")
    return found


@pytest.mark.parametrize("cell", [1.5, "1.5", " 1.5 ", "1,5", "15e-1"])
def test_a_number_is_read_however_it_is_written(cell: object) -> None:
    assert read(cell, "number") == 1.5


@pytest.mark.parametrize(
    ("cell", "number"), [(True, 1.0), (False, 0.0), ("1 234,5", 1234.5), ("-1\u00a0000", -1000.0), (2**70, 2.0**70)]
)
def test_truths_and_blanks_between_thousands_are_numbers(cell: object, number: float) -> None:
    assert read(cell, "number") == number


@pytest.mark.parametrize("cell", [None, "", " ", "NA", "-", "null", math.nan, math.inf])
def test_a_missing_word_is_a_gap_in_a_column_of_numbers(cell: object) -> None:
    assert np.isnan(read(cell, "number"))


@pytest.mark.parametrize(
    "cell",
    ["2026-01-31", "31.01.2026", "2026-01-31 00:00", "2026-01-31T03:00:00+03:00", datetime(2026, 1, 31, tzinfo=UTC)],
)
def test_a_time_is_read_in_the_forms_that_training_takes(cell: object) -> None:
    assert read(cell, "date") == DAY


@pytest.mark.parametrize("cell", [None, "NA", " "])
def test_a_missing_word_is_a_gap_in_a_column_of_times(cell: object) -> None:
    assert np.isnat(read(cell, "date"))


@pytest.mark.parametrize(
    ("cell", "text"), [(" b ", "b"), (True, "true"), ("TRUE", "true"), (3, "3"), (3.0, "3"), (1.5, "1.5"), ("01", "01")]
)
def test_a_level_has_one_text(cell: object, text: str) -> None:
    assert read(cell, "category") == text


@pytest.mark.parametrize("cell", [None, "", "?", math.nan])
def test_a_missing_word_is_a_gap_in_a_column_of_texts(cell: object) -> None:
    assert read(cell, "category") is None


@pytest.mark.parametrize(
    ("cell", "kind", "shown"),
    [
        ("abc", "number", "'abc', which is no number"),
        ("1.23,5", "number", "'1.23,5', which is no number"),
        (10**400, "number", "a number that is too large, which is no number"),
        ([1], "number", "a list"),
        ("20260131", "date", "'20260131', which is no time"),
        (1767225600, "date", "1767225600, which is no time"),
        (True, "date", "True, which is no time"),
        ("31.1.126", "date", "'31.1.126', which is no time"),
        ("118709-01-01", "date", "'118709-01-01', which is no time"),
        ("2026-02-30", "date", "'2026-02-30', which is no time"),
        ({}, "category", "an object, which is no text"),
    ],
)
def test_a_cell_that_is_something_else_is_refused_with_its_row_and_column(cell: object, kind: str, shown: str) -> None:
    with pytest.raises(BadRows) as refused:
        read_cells([None, cell], "c", kind, where="rows", first=257)
    assert refused.value.what.startswith(f"row 258: column 'c' holds {shown}")
    assert "null" in refused.value.do


def test_records_and_columns_are_the_same_rows() -> None:
    records = Asked([{"a": 1, "b": 2}, {"a": 3}], where="rows")
    columns = Asked({"a": [1, 3], "b": [2, None]}, where="rows")
    for asked in (records, columns):
        asked.check_columns("ab")
        assert len(asked) == 2
        assert asked.column("a", "number", slice(1, 2)).tolist() == [3.0]
        assert np.isnan(asked.column("b", "number", slice(0, 2))[1])


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ({"a": [1, 2], "b": [1]}, "columns of different lengths: {'a': 2, 'b': 1}"),
        ({"a": []}, "no rows"),
        ({}, "no rows"),
        ([], "no rows"),
    ],
)
def test_what_is_no_table_is_refused(rows: Any, what: str) -> None:
    with pytest.raises(BadRows, match=what):
        Asked(rows, where="rows")


@pytest.mark.parametrize("rows", [[{"a": 1}], {"a": [1]}])
def test_a_column_that_is_in_no_row_is_missed(rows: Any) -> None:
    with pytest.raises(BadRows, match="no column 'b'"):
        Asked(rows, where="rows").check_columns("ab")
