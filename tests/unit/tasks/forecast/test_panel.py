from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from tests.synthetic import HOUR, PAIRS, START, candles, plain, without

from springtide.domain.errors import BadRows
from springtide.tasks.forecast.panel import build_panel


def test_candles_and_plain_values_are_told_apart_by_their_columns() -> None:
    assert build_panel(candles(50).lazy()).kind == "candles"
    assert build_panel(plain(50).lazy()).kind == "plain"


def test_the_target_is_the_close_on_a_log_scale_or_y_as_it_is() -> None:
    market, values = build_panel(candles(50).lazy()), build_panel(plain(50).lazy())
    assert market.target.tolist() == candles(50)["close"].to_list()
    assert np.array_equal(market.level, np.log(market.target))
    assert values.target.tolist() == values.level.tolist() == plain(50)["y"].to_list()
    assert not values.market.any()


def test_series_lie_one_after_the_other() -> None:
    panel = build_panel(candles(50, series=PAIRS).lazy())
    assert panel.series == PAIRS
    assert panel.bounds.tolist() == [0, 50, 100, 150]
    assert panel.owner.tolist() == [0] * 50 + [1] * 50 + [2] * 50


def test_the_step_is_the_most_common_distance_of_two_rows() -> None:
    every_third = candles(300).filter(pl.col("ds").dt.hour() % 3 == 0)
    panel = build_panel(without(every_third, "ETH/USDT", range(60, 90)).lazy())
    assert panel.step_s == 3 * 3600
    assert panel.filled.sum() == 10


def test_a_gap_is_filled_and_marked_in_its_own_series_only() -> None:
    panel = build_panel(without(candles(50), "ETH/USDT", [10, 11, 30]).lazy())
    assert (np.flatnonzero(panel.filled) - 50).tolist() == [10, 11, 30]
    assert panel.values[60].tolist() == [panel.target[59]] * 4 + [0.0]


def test_further_columns_are_left_out() -> None:
    rows = candles(50).with_columns(trades=pl.lit(3), y=pl.lit(1.0))
    assert build_panel(rows.lazy()).values.shape == (100, 5)


MISTAKES = {
    "no value column": (candles(50).drop("close"), "no column 'y'", "open"),
    "no rows": (candles(50).head(0), "no rows", "0 rows"),
    "one row": (candles(50).head(1), "no rows", "1 rows"),
    "one row a series": (candles(1), "one row only", ""),
    "one moment twice": (pl.concat([plain(1, series=["a"])] * 2), "one row only", ""),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_rows_that_make_no_panel_are_refused_with_what_they_lack(mistake: str) -> None:
    rows, what, where = MISTAKES[mistake]
    with pytest.raises(BadRows) as refused:
        build_panel(rows.lazy())
    assert what in refused.value.what
    assert where in refused.value.where


def test_the_time_zone_of_a_row_is_kept_in_its_seconds() -> None:
    panel = build_panel(candles(50).with_columns(pl.col("ds").dt.convert_time_zone("Asia/Tokyo")).lazy())
    assert panel.seconds[:2].tolist() == [START.timestamp(), (START + HOUR).timestamp()]
