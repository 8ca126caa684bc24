from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from springtide.evaluation.losses import Losses
from springtide.evaluation.significance import compare, compare_by_group, diebold_mariano

if TYPE_CHECKING:
    from numpy.typing import NDArray

OVERLAP = 23


def overlapping_noise(n: int, *, seed: int) -> NDArray[np.float64]:
    """(n,) sums of the last 24 of independent draws: what hourly forecasts of a day ahead look like."""
    draws = np.random.default_rng(seed).standard_normal(n + OVERLAP)
    return np.convolve(draws, np.ones(OVERLAP + 1), mode="valid")


def losses(values: NDArray[np.float64], *, series: int = 1, overlap: int = OVERLAP) -> Losses:
    """(times,) or (times, series) losses as items, time after time."""
    values = np.broadcast_to(values.reshape(len(values), -1), (len(values), series))
    times = np.repeat(np.arange(len(values)) * 3600, series)
    groups = np.tile([f"series {index:02}" for index in range(series)], len(values))
    return Losses("loss", values.ravel().astype(np.float64), times, groups, overlap)


def test_equal_forecasts_are_rejected_at_five_per_cent_in_about_five_of_a_hundred_cases() -> None:
    p_values = [diebold_mariano(overlapping_noise(2000, seed=seed), overlap=OVERLAP)[1] for seed in range(300)]
    assert 0.01 <= np.mean(np.array(p_values) < 0.05) <= 0.07


def test_a_test_that_forgot_the_overlap_would_reject_far_too_often() -> None:
    p_values = [diebold_mariano(overlapping_noise(2000, seed=seed), overlap=0)[1] for seed in range(100)]
    assert np.mean(np.array(p_values) < 0.05) > 0.07


def test_a_true_gain_is_found() -> None:
    found = [diebold_mariano(overlapping_noise(2000, seed=seed) + 2.0, overlap=OVERLAP)[1] for seed in range(50)]
    assert np.mean(np.array(found) < 0.05) > 0.9


def test_a_loss_is_never_taken_for_a_gain() -> None:
    statistic, p_value = diebold_mariano(overlapping_noise(2000, seed=0) - 5.0, overlap=OVERLAP)
    assert statistic < 0
    assert p_value > 0.99


def test_equal_losses_are_no_evidence() -> None:
    assert diebold_mariano(np.zeros(500), overlap=3) == (0.0, 1.0)


def test_a_difference_that_never_varies_is_no_evidence() -> None:
    assert diebold_mariano(np.full(512, 0.25), overlap=3) == (0.0, 1.0)


@pytest.mark.parametrize(("n", "overlap"), [(0, 0), (2, 0), (71, 23)])
def test_fewer_than_three_independent_stretches_are_no_evidence(n: int, overlap: int) -> None:
    assert diebold_mariano(1.0 + np.random.default_rng(0).random(n), overlap=overlap) == (0.0, 1.0)


def test_three_independent_stretches_are_enough_to_be_tested() -> None:
    assert diebold_mariano(1.0 + np.random.default_rng(0).random(72), overlap=23)[1] < 1.0


def test_twenty_series_that_move_as_one_are_the_evidence_of_one() -> None:
    gap = overlapping_noise(800, seed=4) + 2.0
    one = compare(losses(np.full(800, 50.0)), losses(50.0 + gap))
    twenty = compare(losses(np.full(800, 50.0), series=20), losses(50.0 + gap, series=20))
    assert 1e-4 < one.p_value < 0.2
    assert twenty.p_value == pytest.approx(one.p_value, rel=1e-6)
    assert (one.times, twenty.times) == (800, 800)
    assert twenty.gain == pytest.approx(one.gain)


def test_twenty_independent_series_are_more_evidence_than_one() -> None:
    gaps = np.stack([overlapping_noise(800, seed=seed) + 1.0 for seed in range(20)], axis=1)
    one = compare(losses(np.full(800, 50.0)), losses(50.0 + gaps[:, 0]))
    twenty = compare(losses(np.full(800, 50.0), series=20), losses(50.0 + gaps, series=20))
    assert twenty.p_value < one.p_value
    assert twenty.p_value < 0.001


def test_the_order_of_the_items_does_not_matter() -> None:
    rival = losses(50.0 + overlapping_noise(200, seed=1), series=3)
    mine = losses(np.full(200, 50.0), series=3)
    order = np.random.default_rng(0).permutation(600)

    def mixed(one: Losses) -> Losses:
        return Losses(one.name, one.values[order], one.times[order], one.groups[order], one.overlap)

    assert compare(mixed(mine), mixed(rival)).p_value == pytest.approx(compare(mine, rival).p_value, rel=1e-9)


def test_a_gain_is_the_share_by_which_the_loss_is_lower() -> None:
    assert compare(losses(np.full(100, 0.8)), losses(np.full(100, 1.0))).gain == pytest.approx(0.2)
    assert compare(losses(np.full(100, 1.5)), losses(np.full(100, 1.0))).gain == pytest.approx(-0.5)
    assert compare(losses(np.full(100, 0.0)), losses(np.full(100, 0.0))).gain == 0.0


@pytest.mark.parametrize("change", ["times", "groups", "length"])
def test_losses_on_different_items_are_not_compared(change: str) -> None:
    mine = losses(np.ones(100), series=2)
    times = mine.times + 3600 if change == "times" else mine.times
    groups = mine.groups[::-1] if change == "groups" else mine.groups
    keep = slice(100 if change == "length" else None)
    rival = Losses("loss", mine.values[keep], times[keep], groups[keep], mine.overlap)
    with pytest.raises(ValueError, match="different items"):
        compare(mine, rival)


def test_each_series_is_compared_by_itself() -> None:
    gaps = np.stack([overlapping_noise(800, seed=0) + 8.0, overlapping_noise(800, seed=1) - 8.0], axis=1)
    mine, rival = losses(np.full(800, 50.0), series=2), losses(50.0 + gaps, series=2)
    found = compare_by_group(mine, rival)
    assert list(found) == ["series 00", "series 01"]
    assert found["series 00"].gain > 0 > found["series 01"].gain
    assert found["series 00"].p_value < 0.05 < found["series 01"].p_value
    alone = compare(losses(np.full(800, 50.0)), losses(50.0 + gaps[:, 0]))
    assert found["series 00"].p_value == pytest.approx(alone.p_value)
