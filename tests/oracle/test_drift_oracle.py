"""Drift's statistics beside scipy and slow loops."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from springtide.evaluation.drift import (
    autocorrelation_time,
    detect_worsening,
    holm,
    kolmogorov_smirnov,
    population_stability,
)
from springtide.evaluation.losses import Losses

numbers = st.integers(-20, 20).map(float)  # with many ties
sample = st.lists(numbers, min_size=10, max_size=60).map(np.array)


@given(sample, sample)
def test_psi_is_the_sum_over_the_bins_counted_one_by_one(reference: np.ndarray, recent: np.ndarray) -> None:
    ordered = sorted(reference)
    edges = sorted({ordered[-(-len(ordered) * tenth // 10) - 1] for tenth in range(1, 10)})

    def share(values: np.ndarray, place: int) -> float:
        low = edges[place - 1] if place > 0 else -np.inf
        high = edges[place] if place < len(edges) else np.inf
        inside = sum(low < value <= high for value in values)
        return (inside + 0.5) / (len(values) + 0.5 * (len(edges) + 1))

    slow = sum(
        (share(recent, place) - share(reference, place)) * log(share(recent, place) / share(reference, place))
        for place in range(len(edges) + 1)
    )
    psi, bins = population_stability(reference, recent)
    assert psi == pytest.approx(slow, abs=1e-12)
    assert bins == len(edges) + 1


@given(sample, sample)
def test_the_distance_is_that_of_scipy(reference: np.ndarray, recent: np.ndarray) -> None:
    distance, _ = kolmogorov_smirnov(reference, recent)
    assert distance == pytest.approx(stats.ks_2samp(reference, recent, method="asymp").statistic, abs=1e-12)


@given(st.integers(0, 1000), st.integers(20, 300), st.integers(1, 60), st.floats(0, 2))
def test_the_p_value_of_a_small_sample_is_exact(seed: int, n: int, m: int, move: float) -> None:
    rng = np.random.default_rng(seed)
    reference, recent = rng.standard_normal(n), move + rng.standard_normal(m)
    _, p_value = kolmogorov_smirnov(reference, recent)
    assert p_value == pytest.approx(stats.ks_2samp(reference, recent, method="exact").pvalue, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("move", [0.05, 0.1, 0.2])
def test_the_p_value_of_large_samples_is_about_that_of_scipy(move: float) -> None:
    rng = np.random.default_rng(0)
    reference, recent = rng.standard_normal(3000), move + rng.standard_normal(200)
    _, p_value = kolmogorov_smirnov(reference, recent)
    assert p_value == pytest.approx(stats.ks_2samp(reference, recent, method="asymp").pvalue, rel=0.1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_what_stepping_down_rejects(p_values: list[float]) -> None:
    corrected = holm(p_values)
    for alpha in (0.01, 0.05, 0.2):
        rejected, left = set(), sorted(range(len(p_values)), key=lambda one: p_values[one])
        while left and p_values[left[0]] * len(left) < alpha:
            rejected.add(left.pop(0))
        assert {place for place, one in enumerate(corrected) if one < alpha} == rejected


@given(st.lists(st.integers(0, 5).map(float), min_size=2, max_size=60).map(np.array))
def test_the_memory_is_the_sum_over_lags_added_one_by_one(values: np.ndarray) -> None:
    ranks = stats.rankdata(values)
    centred = ranks - ranks.mean()
    variance = float((centred**2).sum())
    slow = 1.0
    if variance > 0:
        slow, total = float(len(values)), 1.0
        for lag in range(len(values)):
            if lag:
                total += 2 * float((centred[lag:] * centred[:-lag]).sum()) / variance
            if lag >= 5 * total:
                slow = total
                break
    assert autocorrelation_time(values) == pytest.approx(max(1.0, slow), abs=1e-9)


@given(st.integers(0, 1000), st.integers(1, 3), st.integers(12, 80))
def test_the_detector_is_the_wealth_of_all_gamblers_counted_one_by_one(seed: int, horizon: int, times: int) -> None:
    rng = np.random.default_rng(seed)
    values = 1 + 0.1 * rng.standard_normal((2, times))
    groups = np.full(times, "a")
    champion, baseline = (Losses("loss", one, np.arange(times), groups, horizon - 1) for one in values)
    blocks = [slice(at, at + horizon) for at in range(0, times - horizon + 1, horizon)]
    excess = [float((values[0, one] - values[1, one]).mean()) for one in blocks]
    apart = 2 if horizon > 1 else 1
    most = 0.0
    for sequence in range(apart):
        total = 0.0
        for bet in (0.05, 0.1, 0.2, 0.4, 0.7, 0.95):
            gamblers: list[float] = []
            for place in range(sequence, len(blocks), apart):
                known = excess[: max(0, place - apart + 1)]
                if len(known) < 3:
                    continue
                scale = 2.5 * float(np.sqrt(np.mean(np.square(known))))
                z = max(-1.0, min(1.0, excess[place] / scale))
                gamblers = [wealth * (1 + bet * z) for wealth in [*gamblers, 1.0]]
            total += sum(gamblers)
        most = max(most, total / 6)
    found = detect_worsening(champion, baseline, threshold=100.0)
    assert found.statistic == pytest.approx(most, rel=1e-6)
    assert found.drifted == (most >= 100)
