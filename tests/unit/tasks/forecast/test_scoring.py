from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from tests.synthetic import JUDGED_FROM, START, candles, plain, windows

from springtide.domain.errors import Conflict
from springtide.tasks.forecast.baselines import fit_baselines, fit_scaled_quantiles
from springtide.tasks.forecast.scoring import score

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from springtide.evaluation.losses import Losses
    from springtide.tasks.forecast.baselines import Predictor
    from springtide.tasks.forecast.items import Windows


@pytest.fixture(scope="module")
def asked() -> Windows:
    return windows(candles())


def wider(predictor: Predictor, factor: float) -> Predictor:
    """The same median, and intervals so much wider on the scale of log prices."""

    def predict(windows: Windows, items: NDArray[np.int64]) -> NDArray[np.float64]:
        level = np.log(predictor(windows, items))
        median = level[:, :, level.shape[2] // 2, None]
        return np.exp(median + factor * (level - median))

    return predict


def knowing_the_hour(windows: Windows, items: NDArray[np.int64]) -> NDArray[np.float64]:
    """Quantiles from the volatility that the walks really have in the hours to come."""
    hours = windows.panel.seconds[items][:, None] // 3600 + np.arange(1, windows.recipe.horizon + 1)
    deviation = 0.01 * np.sqrt(np.cumsum(np.exp(-2.2 * np.cos(2 * np.pi * hours / 24)), axis=1))
    shape = np.array([-1.64, -1.28, -0.67, 0.0, 0.67, 1.28, 1.64])
    return windows.panel.target[items][:, None, None] * np.exp(deviation[:, :, None] * shape)


def test_qlike_prefers_who_knows_the_volatility_to_come_and_does_not_look_at_the_tails(asked: Windows) -> None:
    found = score(knowing_the_hour, asked).metrics["qlike"]
    assert found < 0.6 * score(fit_baselines(asked)["last-value"], asked).metrics["qlike"]
    assert score(wider(knowing_the_hour, 1.7), asked).metrics["qlike"] == pytest.approx(found)


def test_intervals_of_another_width_are_badly_calibrated_and_have_a_worse_interval_score(asked: Windows) -> None:
    right = fit_scaled_quantiles(asked)
    scores = {factor: score(wider(right, factor), asked) for factor in (0.5, 1.0, 2.0)}
    for name in ("calibration_error", "interval_score_90"):
        assert scores[1.0].metrics[name] < min(scores[0.5].metrics[name], scores[2.0].metrics[name])
    levels = asked.recipe.levels
    assert list(scores[1.0].calibration) == list(levels)
    assert scores[0.5].calibration[levels[0]] > levels[0] > scores[2.0].calibration[levels[0]]


def test_calibration_and_coverage_tell_the_same_story(asked: Windows) -> None:
    found = score(fit_scaled_quantiles(asked), asked)
    between = found.calibration[0.95] - found.calibration[0.05]
    assert found.metrics["coverage_90"] == pytest.approx(between, abs=0.002)


def test_items_are_sliced_by_the_hour_of_their_cutoff_and_by_how_wild_the_market_was(asked: Windows) -> None:
    found = score(fit_scaled_quantiles(asked), asked)
    hours = (asked.panel.seconds[asked.judging] // 3600) % 24
    assert found.slices["hour"].tolist() == hours.tolist()
    assert set(found.slices["regime"].tolist()) == {0, 1, 2}
    noon = np.isin(hours, (14, 15, 16))  # the volatility of these walks is highest at noon and is seen after it
    morning = np.isin(hours, (6, 7, 8))
    assert found.slices["regime"][noon].mean() > found.slices["regime"][morning].mean() + 0.5


def test_a_wilder_judging_time_changes_no_limit_of_a_regime() -> None:
    rows = candles()
    calm = windows(rows)
    last = pl.col("ds") >= JUDGED_FROM
    prices = ("open", "high", "low", "close")
    wild = rows.with_columns(pl.when(last).then(pl.col(name) ** 3 / 1e4).otherwise(pl.col(name)) for name in prices)
    regimes = [score(fit_scaled_quantiles(calm), one).slices["regime"] for one in (calm, windows(wild))]
    assert (regimes[1] >= regimes[0]).all()
    assert (regimes[1] == 2).mean() > (regimes[0] == 2).mean() + 0.2


def test_daily_rows_have_no_hour_and_plain_series_no_variance() -> None:
    daily = candles().with_columns((START + (pl.col("ds") - START) * 24).alias("ds"))
    asked = windows(daily, judged_from=START + (JUDGED_FROM - START) * 24, validation="96d")
    assert set(score(fit_scaled_quantiles(asked), asked).slices) == {"regime"}
    other = windows(plain())
    assert "qlike" not in score(fit_scaled_quantiles(other), other).metrics


def test_the_distance_of_two_prediction_times_and_their_overlap_follow_the_stride(asked: Windows) -> None:
    third = windows(candles(), stride=3)
    losses: list[Losses] = [score(fit_scaled_quantiles(one), one) for one in (asked, third)]
    assert [(one.step, one.overlap) for one in losses] == [(3600, 3), (3 * 3600, 1)]
    for one in losses:
        assert set(np.unique(np.diff(np.unique(one.times))).tolist()) == {one.step}


def test_a_champion_that_sees_more_history_than_the_validation_items_have_has_no_qlike(asked: Windows) -> None:
    quantiles = fit_scaled_quantiles(asked)

    def demanding(windows: Windows, items: NDArray[np.int64]) -> NDArray[np.float64]:
        if items.min() < windows.judging.min():
            raise Conflict("too little history", where="an item", do="ask for others")
        return quantiles(windows, items)

    assert "qlike" in score(quantiles, asked).metrics
    found = score(demanding, asked)
    assert "qlike" not in found.metrics
    assert found.mean == score(quantiles, asked).mean


def test_a_price_that_never_moves_has_no_variance_to_compare() -> None:
    rows = candles(series=("BTC/USDT",))
    held = rows.with_columns(
        pl.when(pl.col("ds") >= JUDGED_FROM).then(pl.lit(100.0)).otherwise(pl.col(name)).alias(name)
        for name in ("open", "high", "low", "close")
    )
    asked = windows(held)
    assert "qlike" not in score(fit_scaled_quantiles(asked), asked).metrics


def test_a_list_of_series_is_a_question_of_its_own_and_a_further_series_of_an_open_list_is_not() -> None:
    def question(rows: pl.DataFrame, **changes: object) -> str:
        items = windows(rows, **changes)
        return score(fit_baselines(items)["last-value"], items).question

    both, one = candles(), candles(series=["BTC/USDT"])
    assert question(both) == question(one) == question(both, window=30)
    others = [{"series": ["BTC/USDT"]}, {"series": ["ETH/USDT"]}, {"horizon": 3}, {"intervals": (80,)}]
    assert len({question(both), *(question(both, **changes) for changes in others)}) == 5
