"""The vectorised checks against plain Python, row by row."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from springtide.domain.errors import BadRows
from springtide.sources.candles import CANDLES, check, find_gaps, infer_step

START = datetime(2024, 1, 1, tzinfo=UTC)
PRICES = st.sampled_from([1.0, 2.0, 3.0])
Row = tuple[str, int, float, float, float, float, float]
ROWS = st.lists(
    st.tuples(
        st.sampled_from("AB"), st.integers(0, 4), PRICES, PRICES, PRICES, PRICES, st.sampled_from([-1.0, 0.0, 1.0])
    ),
    max_size=8,
)
HOURS = st.lists(st.integers(0, 60), min_size=2, max_size=30, unique=True).map(sorted)


def frame(rows: list[Row]) -> pl.DataFrame:
    timed = [(series, START + timedelta(hours=hour), *values) for series, hour, *values in rows]
    return pl.DataFrame(timed, schema=CANDLES, orient="row")


def plain_check(rows: list[Row]) -> list[Row] | None:
    """The rows that are kept, or None when they are refused."""
    kept: dict[tuple[str, int], Row] = {}
    for row in rows:
        series, hour, first, high, low, last, volume = row
        if volume < 0 or high < low or not low <= first <= high or not low <= last <= high:
            return None
        if kept.setdefault((series, hour), row) != row:
            return None
    return [kept[key] for key in sorted(kept)]


@settings(deadline=None)
@given(ROWS)
def test_check_keeps_and_refuses_what_plain_python_does(rows: list[Row]) -> None:
    expected = plain_check(rows)
    try:
        found = check(frame(rows), where="drawn")
    except BadRows:
        assert expected is None
    else:
        assert expected is not None
        assert found.equals(frame(expected))


@settings(deadline=None)
@given(HOURS)
def test_the_step_and_the_gaps_are_those_of_plain_python(hours: list[int]) -> None:
    rows = frame([("A", hour, 1.0, 1.0, 1.0, 1.0, 1.0) for hour in hours])
    jumps = [after - before for before, after in pairwise(hours)]
    step = min(Counter(jumps).items(), key=lambda jump: (-jump[1], jump[0]))[0]
    mixed = any(jump % step for jump in jumps)
    expected = None if mixed else step * 3600
    try:
        found = infer_step(rows, where="drawn")
    except BadRows:
        found = None
    assert found == expected

    if expected is not None:
        missing = set(range(hours[0], hours[-1] + 1, step)) - set(hours)
        gaps = find_gaps(rows, expected)
        listed = [gap.first + timedelta(seconds=expected) * k for gap in gaps for k in range(gap.steps)]
        assert listed == [START + timedelta(hours=hour) for hour in sorted(missing)]
