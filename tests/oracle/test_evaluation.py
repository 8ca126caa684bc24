from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from springtide.evaluation.losses import Losses
from springtide.evaluation.scores import coverage, direction_hits, mean_absolute_error, pinball, squared_error
from springtide.evaluation.significance import compare, diebold_mariano, long_run_variance
from springtide.evaluation.splits import walk_forward

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVELS = (0.05, 0.25, 0.5, 0.9)
values = st.floats(-1e6, 1e6)
whole = st.integers(-3, 3).map(float)  # few values, so that ties are common


@st.composite
def forecasts(draw: st.DrawFn, numbers: st.SearchStrategy[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n, h) outcomes and (n, h, 4) quantiles."""
    n, h = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    outcomes = draw(st.lists(numbers, min_size=n * h, max_size=n * h))
    quantiles = draw(st.lists(numbers, min_size=n * h * 4, max_size=n * h * 4))
    return np.reshape(outcomes, (n, h)), np.reshape(quantiles, (n, h, 4))


@given(forecasts(values))
def test_pinball_weighs_what_was_missed_by_the_level_or_by_its_rest(
    case: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> None:
    def plain(item: int) -> float:
        losses = []
        for step, outcome in enumerate(outcomes[item]):
            for level, quantile in zip(LEVELS, quantiles[item, step], strict=True):
                over = outcome >= quantile
                losses.append(level * (outcome - quantile) if over else (1 - level) * (quantile - outcome))
        return sum(losses) / len(losses)

    outcomes, quantiles = case
    found = pinball(outcomes, quantiles, np.array(LEVELS))
    assert found == pytest.approx([plain(item) for item in range(len(outcomes))], rel=1e-9, abs=1e-6)
    assert (found >= 0).all()


def test_the_true_quantiles_have_a_lower_pinball_loss_than_any_others() -> None:
    outcomes = np.random.default_rng(0).standard_normal((20_000, 1))
    true = stats.norm.ppf(LEVELS)
    losses = [
        pinball(outcomes, np.broadcast_to(quantiles, (20_000, 1, 4)), np.array(LEVELS)).mean()
        for quantiles in (true, true * 1.3, true * 0.7, true + 0.3, true - 0.3)
    ]
    assert np.argmin(losses) == 0


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 1.1, math.nan])
def test_a_level_outside_of_zero_to_one_is_no_quantile(level: float) -> None:
    with pytest.raises(ValueError, match="not all between 0 and 1"):
        pinball(np.zeros((1, 1)), np.zeros((1, 1, 1)), np.array([level]))


@given(forecasts(whole))
def test_coverage_counts_outcomes_between_two_quantiles_with_both_ends(
    case: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> None:
    outcomes, quantiles = case
    lower, upper = quantiles[:, :, 0], quantiles[:, :, 1]
    plain = [
        sum(low <= y <= high for y, low, high in zip(*item, strict=True)) / outcomes.shape[1]
        for item in zip(outcomes, lower, upper, strict=True)
    ]
    assert coverage(outcomes, lower, upper).tolist() == pytest.approx(plain)


@given(forecasts(whole), whole)
def test_a_direction_is_hit_missed_or_not_said(
    case: tuple[NDArray[np.float64], NDArray[np.float64]], origin: float
) -> None:
    def hit(outcome: float, point: float) -> float:
        if point == origin:
            return 0.5
        if point > origin:
            return float(outcome > origin)
        return float(outcome < origin)

    outcomes, quantiles = case
    points = quantiles[:, :, 0]
    plain = [np.mean([hit(*pair) for pair in zip(*item, strict=True)]) for item in zip(outcomes, points, strict=True)]
    assert direction_hits(np.full(len(outcomes), origin), outcomes, points).tolist() == pytest.approx(plain)


@given(forecasts(values))
def test_point_errors_are_means_over_the_steps_of_each_item(
    case: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> None:
    outcomes, points = case[0], case[1][:, :, 0]
    errors = [[float(y - p) for y, p in zip(*item, strict=True)] for item in zip(outcomes, points, strict=True)]
    absolute = [sum(abs(error) for error in item) / len(item) for item in errors]
    squared = [sum(error**2 for error in item) / len(item) for item in errors]
    assert mean_absolute_error(outcomes, points) == pytest.approx(absolute)
    assert squared_error(outcomes, points) == pytest.approx(squared)


def covariance(series: list[float], lag: int) -> float:
    """The autocovariance at `lag`, as it is defined."""
    mean = sum(series) / len(series)
    return sum((series[t] - mean) * (series[t - lag] - mean) for t in range(lag, len(series))) / len(series)


def slow_variance(series: list[float], overlap: int) -> float:
    n = len(series)
    reach = min(n - 1, max(3 * overlap, math.ceil(n ** (1 / 3))))
    flat = covariance(series, 0) + 2 * sum(covariance(series, lag) for lag in range(1, overlap + 1))
    bartlett = covariance(series, 0) + 2 * sum(
        (1 - lag / (reach + 1)) * covariance(series, lag) for lag in range(1, reach + 1)
    )
    return max(flat, bartlett)


@given(st.lists(st.floats(-100, 100), min_size=3, max_size=60), st.data())
def test_the_long_run_variance_is_the_larger_sum_of_autocovariances(series: list[float], data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, len(series) // 3))
    assert long_run_variance(np.array(series), overlap=overlap) == pytest.approx(
        slow_variance(series, overlap), rel=1e-9, abs=1e-8
    )


@given(st.lists(st.integers(-50, 50).map(float), min_size=3, max_size=60), st.data())
def test_the_statistic_is_the_mean_over_its_corrected_standard_error(series: list[float], data: st.DataObject) -> None:
    n = len(series)
    h = data.draw(st.integers(1, n // 3))
    statistic, p_value = diebold_mariano(np.array(series), overlap=h - 1)
    if len(set(series)) == 1:
        assert (statistic, p_value) == (0.0, 1.0)
        return
    error = math.sqrt(slow_variance(series, h - 1) / n)
    expected = math.sqrt((n + 1 - 2 * h + h * (h - 1) / n) / n) * (sum(series) / n) / error
    assert statistic == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert p_value == pytest.approx(stats.t.sf(expected, df=n - 1), rel=1e-6)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3), st.integers(-9, 9)), min_size=3, max_size=40))
def test_series_are_summed_at_each_time_before_time_is_tested(items: list[tuple[int, int, int]]) -> None:
    def losses(values: list[float]) -> Losses:
        return Losses(
            "loss", np.array(values), np.array([time for time, _, _ in items]), np.array([str(g) for _, g, _ in items])
        )

    distinct = sorted({time for time, _, _ in items})
    a_time = len(items) / len(distinct)
    sums = [sum(gap for time, _, gap in items if time == moment) / a_time for moment in distinct]
    found = compare(losses([10.0] * len(items)), losses([10.0 + gap for _, _, gap in items]))
    expected = diebold_mariano(np.array(sums), overlap=0)
    assert (found.statistic, found.p_value) == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert found.times == len(distinct)


@given(st.integers(-(10**9), 2 * 10**9), st.integers(1, 50), st.data())
def test_a_walk_forward_covers_its_span_without_a_hole_or_an_overlap(
    last: int, folds: int, data: st.DataObject
) -> None:
    span = data.draw(st.integers(folds, 10**9))
    walk = walk_forward(last=last, span=span, folds=folds)
    assert len(walk) == folds
    assert (walk[0].start, walk[-1].stop) == (last - span, last)
    assert all(before.stop == after.start for before, after in pairwise(walk))
    lengths = [fold.stop - fold.start for fold in walk]
    assert min(lengths) >= 1
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize(("span", "folds"), [(10, 0), (10, -1), (3, 4), (0, 1)])
def test_a_span_that_cannot_be_cut_is_refused(span: int, folds: int) -> None:
    with pytest.raises(ValueError, match="cannot be cut"):
        walk_forward(last=100, span=span, folds=folds)
