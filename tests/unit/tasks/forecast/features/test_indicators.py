"""Indicators that are cut, beside the recursions that define them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.synthetic import candles

from springtide.tasks.forecast.features.feature import batch_features
from springtide.tasks.forecast.features.indicators import REMAINDER, build_indicators, smoothing

if TYPE_CHECKING:
    import polars as pl

FRAME = candles(600, series=["BTC/USDT"])
CLOSE = FRAME["close"].to_numpy()
LATER = slice(300, None)  # where the beginning of a recursion no longer matters


def indicator(written: str) -> np.ndarray:
    """(rows, k) the features of one indicator."""
    return batch_features(build_indicators([written], kind="candles"), FRAME)


def recursion(values: np.ndarray | pl.Series, alpha: float) -> np.ndarray:
    """Exponential smoothing that never forgets: each value is alpha new and 1 - alpha of what was before."""
    smooth = np.array(values, dtype=np.float64)
    for row in range(1, len(values)):
        smooth[row] = alpha * values[row] + (1 - alpha) * smooth[row - 1]
    return smooth


def test_the_rsi_is_wilders_to_a_twentieth_of_a_point() -> None:
    change = np.diff(CLOSE, prepend=CLOSE[:1])
    up, down = recursion(np.maximum(change, 0), 1 / 14), recursion(np.maximum(-change, 0), 1 / 14)
    np.testing.assert_allclose(indicator("rsi")[LATER, 0], 100 - 100 / (1 + up[LATER] / down[LATER]), atol=0.05)


def test_the_macd_is_that_of_endless_averages_to_a_hundredth_of_the_volatility() -> None:
    level = np.log(CLOSE)
    line = recursion(level, 2 / 13) - recursion(level, 2 / 27)
    histogram = line - recursion(line, 2 / 10)
    moves = np.diff(level, prepend=level[:1])
    unit = np.array([np.sqrt(np.mean(moves[row - 25 : row + 1] ** 2)) for row in range(26, 600)])
    found = indicator("macd")[LATER]
    np.testing.assert_allclose(found[:, 0], line[LATER] / unit[274:], atol=0.01)
    np.testing.assert_allclose(found[:, 1], histogram[LATER] / unit[274:], atol=0.01)


def test_the_average_true_range_is_wilders_to_a_thousandth() -> None:
    before = np.concatenate([CLOSE[:1], CLOSE[:-1]])
    true_range = np.log(np.maximum(FRAME["high"], before) / np.minimum(FRAME["low"], before))
    np.testing.assert_allclose(indicator("atr")[LATER, 0], recursion(true_range, 1 / 14)[LATER], rtol=1e-3)


@pytest.mark.parametrize("alpha", [2 / 3, 2 / 27, 1 / 14])
def test_what_is_cut_off_an_average_weighs_less_than_the_remainder(alpha: float) -> None:
    weights = smoothing(alpha)
    assert weights.sum() == pytest.approx(1)
    assert (1 - alpha) ** len(weights) <= REMAINDER < (1 - alpha) ** (len(weights) - 1)


def test_a_walk_that_only_rises_is_at_the_top() -> None:
    ladder = np.exp(0.01 * np.arange(600))
    rising = FRAME.with_columns(open=ladder, high=ladder, low=ladder, close=ladder)
    found = {
        f.name: batch_features([f], rising)[-1, 0]
        for f in build_indicators(["rsi", "obv", "stochastic", "momentum:16"], kind="candles")
    }
    assert found == pytest.approx(
        {"rsi_14": 100, "obv_20": 1, "stochastic_k_14": 100, "stochastic_d_14_3": 100, "momentum_16": 4}
    )
