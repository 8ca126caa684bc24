from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from springtide.evaluation.anytime import BETS, Wealth, gather_evidence
from springtide.evaluation.confidence_set import compare_all, model_confidence_set
from springtide.evaluation.losses import Losses
from springtide.evaluation.scores import (
    calibration_error,
    coverage,
    direction_hits,
    interval_score,
    mean_absolute_error,
    pinball,
    pit_histogram,
    qlike,
    shares_below,
    squared_error,
)
from springtide.evaluation.significance import compare, diebold_mariano, long_run_variance
from springtide.evaluation.slices import mean_by_span, skill_by_slice
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


@given(forecasts(values), st.sampled_from([0.5, 0.8, 0.9]))
def test_an_interval_score_is_the_width_and_a_penalty_for_what_is_outside(
    case: tuple[NDArray[np.float64], NDArray[np.float64]], share: float
) -> None:
    def plain(outcome: float, low: float, high: float) -> float:
        penalty = 2 / (1 - share)
        if outcome < low:
            return high - low + penalty * (low - outcome)
        if outcome > high:
            return high - low + penalty * (outcome - high)
        return high - low

    outcomes, (lower, upper) = case[0], np.sort(case[1][:, :, :2], axis=2).transpose(2, 0, 1)
    slow = [np.mean([plain(*step) for step in zip(*item, strict=True)]) for item in zip(outcomes, lower, upper)]  # noqa: B905 # n items each
    assert interval_score(outcomes, lower, upper, share=share) == pytest.approx(slow, rel=1e-9, abs=1e-6)


def test_the_true_interval_has_the_lowest_interval_score() -> None:
    outcomes = np.random.default_rng(0).standard_normal((20_000, 1))
    true = stats.norm.ppf(0.95)
    scores = [
        interval_score(outcomes, np.full_like(outcomes, -reach), np.full_like(outcomes, reach), share=0.9).mean()
        for reach in (true, true * 1.2, true * 0.8)
    ]
    assert np.argmin(scores) == 0


def test_qlike_prefers_the_true_variance_though_only_a_noisy_one_is_seen() -> None:
    random = np.random.default_rng(0)
    true = np.exp(random.normal(size=50_000))
    realised = true * random.chisquare(5, size=true.size) / 5
    losses = [qlike(realised, forecast).mean() for forecast in (true, 1.2 * true, true / 1.2, np.full_like(true, 1.6))]
    assert np.argmin(losses) == 0
    assert qlike(true, true) == pytest.approx(np.zeros(true.size))
    assert (qlike(realised, true) >= 0).all()


@given(forecasts(whole))
def test_shares_below_count_outcomes_up_to_each_quantile_and_the_histogram_what_lies_between(
    case: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> None:
    outcomes, quantiles = case[0], np.sort(case[1], axis=2)
    shares = shares_below(outcomes, quantiles)
    for item, outcome in enumerate(outcomes):
        for place in range(len(LEVELS)):
            assert shares[item, place] == np.mean(
                [y <= q for y, q in zip(outcome, quantiles[item, :, place], strict=True)]
            )
    bins = np.zeros(len(LEVELS) + 1)
    for outcome, rising in zip(outcomes.ravel(), quantiles.reshape(-1, len(LEVELS)), strict=True):
        bins[sum(outcome > q for q in rising)] += 1 / outcomes.size
    assert pit_histogram(shares.mean(axis=0)) == pytest.approx(bins)


def test_true_quantiles_have_no_calibration_error_and_narrow_ones_have() -> None:
    outcomes = np.random.default_rng(0).standard_normal((50_000, 1))
    levels = np.array(LEVELS)

    def error(width: float) -> float:
        quantiles = np.broadcast_to(width * stats.norm.ppf(levels), (len(outcomes), 1, len(levels)))
        return calibration_error(shares_below(outcomes, quantiles).mean(axis=0), levels)

    assert error(1.0) < 0.005
    assert error(0.7) > 0.03


items = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3), st.floats(0, 10), st.floats(0.1, 10)), min_size=1)


@given(items, st.integers(1, 9))
def test_slices_and_spans_are_the_means_of_their_own_items(
    rows: list[tuple[int, int, float, float]], spans: int
) -> None:
    times, labels = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    groups = np.full(len(rows), "a")
    mine = Losses("loss", np.array([row[2] for row in rows]), times, groups, slices={"kind": labels})
    rival = Losses("loss", np.array([row[3] for row in rows]), times, groups)
    for one in skill_by_slice(mine, rival)["kind"]:
        inside = [row for row in rows if row[1] == one.label]
        assert one.items == len(inside)
        assert one.skill == pytest.approx(1 - sum(row[2] for row in inside) / sum(row[3] for row in inside))
    starts, means = mean_by_span(mine, spans=spans)
    assert len(starts) <= spans
    assert starts[0] == times.min()
    length = starts[1] - starts[0] if len(starts) > 1 else 31
    for start, mean in zip(starts, means, strict=True):
        inside = [row for row in rows if start <= row[0] < start + length]
        assert mean == (pytest.approx(np.mean([row[2] for row in inside])) if inside else None)
    assert times.max() < starts[-1] + length


@given(st.lists(st.tuples(st.integers(0, 60), st.floats(0.5, 2), st.floats(0.5, 2)), min_size=1), st.integers(0, 4))
def test_evidence_is_what_betting_block_by_block_comes_to(rows: list[tuple[int, float, float]], overlap: int) -> None:
    length, sequences = overlap + 1, 2 if overlap else 1
    times = [row[0] for row in rows]

    def block(number: int) -> list[tuple[int, float, float]]:
        return [row for row in rows if row[0] // length == number]

    whole = [
        number
        for number in sorted({time // length for time in times})
        if number * length >= min(times) and number * length + overlap <= max(times)
    ]
    difference = {number: float(np.mean([row[2] - row[1] for row in block(number)])) for number in whole}
    wealth = [[1.0] * len(BETS) for _ in range(sequences)]
    blocks = 0
    for number in whole:
        known = [difference[earlier] ** 2 for earlier in whole if earlier <= number - sequences]
        if len(known) < 3:
            continue
        width = 2.5 * math.sqrt(sum(known) / len(known))
        gain = 0.0 if difference[number] == 0 else 1.0 if width < 1e-9 else difference[number] / width
        gain = min(1.0, max(-1.0, gain)) if width >= 1e-9 else math.copysign(gain, difference[number])
        blocks += 1
        for place, bet in enumerate(BETS):
            wealth[number % sequences][place] *= 1 + bet * gain
    groups = np.full(len(rows), "a")
    mine = Losses("loss", np.array([row[1] for row in rows]), np.array(times), groups, overlap)
    rival = Losses("loss", np.array([row[2] for row in rows]), np.array(times), groups, overlap)
    found = gather_evidence(mine, {"rival": rival}, champion=None, before=None)
    assert found.counted_until == ((whole[-1] + 1) * length if whole else None)
    assert isinstance(found.rivals["rival"], Wealth)
    assert found.rivals["rival"].blocks == blocks
    assert np.exp(found.rivals["rival"].logs) == pytest.approx(np.array(wealth), rel=1e-6)


def slow_confidence_set(losses: NDArray[np.float64], overlap: int, seed: int, draws: int) -> list[float]:
    """The definition, with one resampled array of losses after another."""
    n, m = losses.shape
    block = min(n, max(3 * overlap + 1, math.ceil(n ** (1 / 3))))
    starts = np.random.default_rng(seed).integers(n, size=(draws, math.ceil(n / block)))
    samples = [
        losses[np.array([(start + step) % n for start in row for step in range(block)][:n])].mean(axis=0)
        for row in starts
    ]
    means = losses.mean(axis=0)
    apart = np.array([(s[:, None] - s) - (means[:, None] - means) for s in samples])
    error = np.sqrt((apart**2).mean(axis=0)) + np.eye(m)
    left, p_values, p_value = list(range(m)), [1.0] * m, 0.0
    while len(left) > 1:
        pairs = [(i, j) for i in left for j in left]
        t = {(i, j): (means[i] - means[j]) / error[i, j] for i, j in pairs}
        worst = max(t, key=lambda pair: t[pair])
        chance = [max(sample[i, j] / error[i, j] for i, j in pairs) for sample in apart]
        p_value = max(p_value, float(np.mean([one >= t[worst] for one in chance])))
        p_values[worst[0]] = p_value
        left.remove(worst[0])
    return p_values


@pytest.mark.parametrize(("n", "overlap"), [(60, 0), (100, 4), (61, 7)])
def test_the_confidence_set_puts_out_the_worst_model_while_more_than_chance_says_so(n: int, overlap: int) -> None:
    random = np.random.default_rng(n)
    losses = random.normal(size=(n, 4)) + random.normal(size=(n, 1)) + np.array([0.0, 0.1, 0.3, 0.8])
    found = model_confidence_set(losses, overlap=overlap, rng=np.random.default_rng(3), draws=200)
    assert found.tolist() == pytest.approx(slow_confidence_set(losses, overlap, 3, 200))


@pytest.mark.parametrize("seed", range(3))
def test_the_confidence_set_is_that_of_another_library(seed: int) -> None:
    bootstrap = pytest.importorskip("arch.bootstrap", reason="arch is not installed")
    random = np.random.default_rng(seed)
    own = np.stack([np.convolve(random.normal(size=400), np.ones(5), "valid") for _ in range(5)], axis=1)
    losses = own + np.array([0.0, 0.1, 0.3, 0.6, 1.5])
    found = model_confidence_set(losses, overlap=4, rng=np.random.default_rng(0))
    theirs = bootstrap.MCS(losses, size=0.1, reps=2000, block_size=13, method="R", bootstrap="circular", seed=seed)
    theirs.compute()
    assert found == pytest.approx(theirs.pvalues["Pvalue"].sort_index().to_numpy(), abs=0.05)


def test_all_rivals_are_compared_at_times_and_not_at_items() -> None:
    random = np.random.default_rng(0)
    values = {name: random.normal(mean, 1.0, size=200) for name, mean in {"a": 0.0, "b": 0.1, "c": 0.4}.items()}

    def rivals(copies: int) -> dict[str, Losses]:
        times, groups = np.tile(np.arange(200), copies), np.repeat([f"{one}" for one in range(copies)], 200)
        return {name: Losses("loss", np.tile(one, copies), times, groups) for name, one in values.items()}

    one, ten = (compare_all(rivals(copies), rng=np.random.default_rng(1)) for copies in (1, 10))
    assert list(one) == ["a", "b", "c"]
    assert ten == pytest.approx(one)
