"""What a table holds: rows, spans, missing steps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.lake.columns import MOMENT
from springtide.lake.facts import facts_of

if TYPE_CHECKING:
    from pathlib import Path

KEY = ("unique_id", "ds")
START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def frame(keys: list[tuple[str, int]]) -> pl.LazyFrame:
    lines = [(series, START + hour * HOUR) for series, hour in keys]
    return pl.LazyFrame(lines, schema={"unique_id": pl.String(), "ds": MOMENT}, orient="row")


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 30)), max_size=40))
def test_the_missing_steps_are_those_of_the_grid_that_no_row_fills(keys: list[tuple[str, int]]) -> None:
    for facts in facts_of(frame(keys), KEY, 3600):
        hours = sorted(hour for series, hour in keys if series == facts.series)
        missing = {START + hour * HOUR for hour in range(hours[0], hours[-1]) if hour not in hours}
        told = [gap.first + step * HOUR for gap in facts.gaps for step in range(gap.steps)]
        assert told == sorted(missing)
        assert all(gap.last == gap.first + (gap.steps - 1) * HOUR for gap in facts.gaps)
        assert (facts.rows, facts.duplicates) == (len(hours), len(hours) - len(set(hours)))
        assert (facts.first, facts.last) == (START + hours[0] * HOUR, START + hours[-1] * HOUR)


def test_without_a_step_there_are_no_gaps() -> None:
    [facts] = facts_of(frame([("a", 0), ("a", 9)]), KEY, None)
    assert facts.gaps == ()


@pytest.mark.data
def test_the_gaps_of_five_years_of_real_candles_are_found(real_data: Path) -> None:
    candles = pl.scan_parquet(real_data / "candles" / "binance_spot_1h_33coins_2017-08_2022-10.parquet").select(
        pl.col("symbol").alias("unique_id"), pl.col("timestamp").cast(MOMENT).alias("ds")
    )
    facts = facts_of(candles, KEY, 3600)
    gaps = [gap for series in facts for gap in series.gaps]
    assert (len(facts), len(gaps), sum(gap.steps for gap in gaps)) == (33, 547, 1777)
