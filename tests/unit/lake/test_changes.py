"""Which incoming rows are new, which correct, which repeat."""

from __future__ import annotations

import polars as pl
import pytest

from springtide.domain.errors import BadRows
from springtide.lake.changes import classify, one_row_per_key

KEY = ("unique_id", "ds")


def rows(*lines: tuple[str | None, int | None, float | None]) -> pl.DataFrame:
    return pl.DataFrame(lines, schema={"unique_id": pl.String(), "ds": pl.Int64(), "y": pl.Float64()}, orient="row")


def test_equal_rows_with_one_key_collapse() -> None:
    nan = float("nan")
    incoming = rows(("a", 1, None), ("a", 1, None), ("b", 1, nan), ("b", 1, nan), ("a", 2, 1.0))
    assert one_row_per_key(incoming, KEY, where="here").height == 3


def test_two_different_rows_with_one_key_are_refused_and_the_key_is_named() -> None:
    with pytest.raises(BadRows, match=r"1 rows have the key .* \(first: a, 1\)"):
        one_row_per_key(rows(("a", 1, 1.0), ("b", 1, 1.0), ("a", 1, 2.0)), KEY, where="here")


def test_a_null_in_the_key_is_refused_and_the_column_is_named() -> None:
    with pytest.raises(BadRows, match="1 rows have no 'ds'"):
        one_row_per_key(rows(("a", None, 1.0)), KEY, where="here")


@pytest.mark.parametrize(
    ("before", "after", "corrected"),
    [
        (1.0, 1.0, False),
        (1.0, 1.5, True),
        (None, None, False),
        (None, 1.0, True),
        (1.0, None, True),
        (float("nan"), float("nan"), False),
        (float("nan"), None, True),
        (0.0, None, True),
    ],
)
def test_a_known_row_is_corrected_only_when_a_value_differs(
    before: float | None,
    after: float | None,
    corrected: bool,
) -> None:
    changes = classify(rows(("a", 1, after)), rows(("a", 1, before), ("a", 2, 9.0)), KEY)
    assert (len(changes.new), len(changes.corrected), changes.unchanged) == (0, int(corrected), int(not corrected))


def test_rows_that_are_nothing_but_a_key_are_new_or_unchanged() -> None:
    changes = classify(rows(("a", 1, 0.0), ("a", 2, 0.0)).select(KEY), rows(("a", 1, 0.0)).select(KEY), KEY)
    assert (changes.new["ds"].to_list(), changes.unchanged) == ([2], 1)
