from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from springtide.domain.errors import BadRows
from springtide.sources.candles import CANDLES, LINE, PLAIN, check, find_gaps, infer_step

DAY = datetime(2024, 1, 1, tzinfo=UTC)


def candles(*, hours: list[float] | None = None, series: str = "BTC/USDT", **cells: Any) -> pl.DataFrame:
    """Good hourly candles, of which a test spoils some cells."""
    times = [DAY + timedelta(hours=h) for h in (hours if hours is not None else [0, 1, 2])]
    n = len(times)
    whole = {"unique_id": [series] * n, "ds": times, "open": [10.0] * n, "high": [12.0] * n, "low": [9.0] * n}
    return pl.DataFrame(whole | {"close": [11.0] * n, "volume": [1.0] * n} | cells)


def refusal(frame: pl.DataFrame, **options: Any) -> BadRows:
    with pytest.raises(BadRows) as caught:
        check(frame, where="a.csv", **options)
    return caught.value


def test_good_candles_pass_unchanged() -> None:
    assert check(candles(), where="a.csv").equals(candles())
    assert check(candles(), where="a.csv").schema == CANDLES


def test_rows_come_out_sorted_by_series_and_time() -> None:
    mixed = pl.concat([candles(hours=[2, 0, 1]), candles(series="ADA/USDT")])
    assert check(mixed, where="a.csv").equals(pl.concat([candles(series="ADA/USDT"), candles()]))


def test_numbers_written_as_text_are_read() -> None:
    assert check(candles(close=[" 11", "1.1e1", "11.0"]), where="a.csv")["close"].to_list() == [11.0, 11.0, 11.0]


def test_naive_times_are_utc_and_other_zones_are_converted() -> None:
    naive = candles().with_columns(pl.col("ds").dt.replace_time_zone(None))
    moscow = candles().with_columns(pl.col("ds").dt.convert_time_zone("Europe/Moscow").dt.cast_time_unit("ns"))
    assert check(naive, where="a.csv").equals(candles())
    assert check(moscow, where="a.csv").equals(candles())


def test_constant_prices_are_no_error() -> None:
    flat = dict.fromkeys(("open", "high", "low", "close"), [5.0] * 3)
    assert check(candles(**flat), where="a.csv").height == 3


def test_rows_that_come_twice_with_the_same_values_become_one() -> None:
    assert check(pl.concat([candles(), candles(hours=[1]), candles()]), where="a.csv").equals(candles())


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ({"close": ["11", "n/a", "11"]}, "close is no number"),
        ({"close": [11.0, None, 11.0]}, "close is no number"),
        ({"open": [10.0, float("nan"), 10.0]}, "open is not finite"),
        ({"high": [12.0, float("inf"), 12.0]}, "high is not finite"),
        ({"low": [9.0, 0.0, 9.0]}, "low is not above zero"),
        ({"open": [10.0, -10.0, 10.0]}, "open is not above zero"),
        ({"volume": [1.0, -1.0, 0.0]}, "volume is negative"),
        ({"high": [12.0, 8.0, 12.0]}, "high is below low"),
        ({"open": [10.0, 12.1, 10.0]}, "open is outside low and high"),
        ({"close": [11.0, 8.9, 11.0]}, "close is outside low and high"),
        ({"unique_id": ["BTC/USDT", None, "BTC/USDT"]}, "unique_id is empty"),
        ({"ds": [DAY, None, DAY + timedelta(hours=2)]}, "ds is no time"),
    ],
)
def test_a_spoilt_row_is_refused_by_its_number(cells: dict[str, Any], words: str) -> None:
    error = refusal(candles(**cells))
    assert error.what.startswith(words)
    assert error.where == "a.csv, row 2"


def test_an_error_names_the_line_of_the_file_when_it_is_known() -> None:
    spoilt = candles(hours=[2, 1, 0], low=[9.0, 9.0, -1.0]).with_columns(pl.Series(LINE, [5, 7, 9]))
    assert refusal(spoilt).where == "a.csv, line 9"


def test_the_first_spoilt_row_is_named_and_the_others_are_counted() -> None:
    error = refusal(candles(volume=[1.0, -1.0, -2.0]))
    assert error.where == "a.csv, row 2"
    assert error.what.endswith("(and 1 more rows)")


def test_rounding_in_the_ninth_digit_is_no_price_outside_the_candle() -> None:
    assert check(candles(close=[12.0 * (1 + 1e-10)] * 3), where="a.csv").height == 3


def test_two_rows_for_one_time_with_different_values_are_refused() -> None:
    other = candles(hours=[1], close=[11.5])
    error = refusal(pl.concat([candles(), other]))
    assert error.what.startswith("two rows for BTC/USDT at 2024-01-01 01:00:00 with different values")
    assert error.where == "a.csv, rows 2 and 4"


def test_a_time_off_the_grid_is_refused() -> None:
    error = refusal(candles(hours=[0, 1, 2.5, 3]), step_s=3600)
    assert error.what == "BTC/USDT at 2024-01-01 02:30:00 is not on the grid of 1h"
    assert error.where == "a.csv, row 3"


def test_two_series_may_lie_on_different_grids_of_one_step() -> None:
    both = pl.concat([candles(), candles(series="X", hours=[0.5, 1.5])])
    assert check(both, where="a.csv", step_s=3600).height == 5


def test_missing_columns_are_refused_by_name() -> None:
    error = refusal(candles().drop("close").rename({"open": "opn"}))
    assert error.what.startswith("no column open, close; found: unique_id, ds, opn")


def test_a_column_of_another_kind_is_refused_by_its_type() -> None:
    lists = candles(close=[[1.0], [2.0], [3.0]])
    assert refusal(lists).what == "column close holds List(Float64), not numbers"
    assert refusal(candles(ds=["1", "2", "3"])).what == "column ds holds String, not times"


def test_plain_series_may_be_negative_but_not_infinite() -> None:
    rows = pl.DataFrame({"unique_id": "A", "ds": [DAY, DAY + timedelta(days=1)], "y": [-1.0, 0.0]})
    assert check(rows, where="a.csv", schema=PLAIN).equals(rows)
    assert "y is not finite" in refusal(rows.with_columns(y=pl.lit(float("inf"))), schema=PLAIN).what


def test_no_rows_are_no_error() -> None:
    assert check(candles().clear(), where="a.csv", step_s=60).is_empty()


def test_the_step_is_the_most_common_difference() -> None:
    assert infer_step(candles(hours=[0, 1, 2, 5, 6]), where="a.csv") == 3600


def test_a_single_row_has_no_step_unless_it_is_known() -> None:
    assert infer_step(candles(hours=[0]), where="a.csv") is None
    assert infer_step(candles(hours=[0]), where="a.csv", step_s=60) == 60


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (candles(hours=[0, 1, 2, 2.5]), "BTC/USDT goes 30m from 2024-01-01 02:00:00"),
        (pl.concat([candles(), candles(series="X", hours=[0, 4, 8])]), "rows of X are 4h apart"),
        (candles(hours=[*range(50), *range(53, 173, 4)]), "30 rows in a row of BTC/USDT are 4h apart"),
    ],
)
def test_mixed_timeframes_are_refused(rows: pl.DataFrame, words: str) -> None:
    with pytest.raises(BadRows, match="mixed timeframes: the step is 1h") as caught:
        infer_step(rows, where="a.csv")
    assert words in caught.value.what


def test_rows_that_are_never_one_known_step_apart_are_refused() -> None:
    with pytest.raises(BadRows, match="the step is 1h, but rows of BTC/USDT are 4h apart"):
        infer_step(candles(hours=[0, 4, 8]), where="a.csv", step_s=3600)


def test_a_gap_is_named_by_its_first_and_last_missing_step() -> None:
    (gap,) = find_gaps(candles(hours=[0, 1, 5, 6]), 3600)
    assert (gap.series, gap.steps) == ("BTC/USDT", 3)
    assert (gap.first, gap.last) == (DAY + timedelta(hours=2), DAY + timedelta(hours=4))
