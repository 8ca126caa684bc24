"""Drift on simulated series: rarely called where nothing has changed, and found where something has."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from springtide.evaluation.drift import autocorrelation_time, detect_worsening, find_shifts
from springtide.evaluation.losses import Losses

HOUR_S, HORIZON = 3600, 24
BLOCKS = 365 + 90  # of a day, as long as the horizon: a year and a judging span
PSI, ALPHA, LOSS_ALPHA = 0.25, 0.01, 0.1
WEEK = 168
THRESHOLD = BLOCKS / LOSS_ALPHA


def persistent(rng: np.random.Generator, memory: float, shape: tuple[int, int]) -> np.ndarray:
    """Rows of standard normal values whose autocorrelation is `memory` at one step."""
    shocks = rng.standard_normal((shape[0], shape[1] + 1000))
    series: np.ndarray = lfilter([np.sqrt(1 - memory**2)], [1, -memory], shocks, axis=1)[:, 1000:]
    return series


def share_of_alarms(memory: float, *, inputs: int = 1, move: float = 0.0, walks: int = 100) -> float:
    """Of looks at a week that comes three months after a training of 3,000 hours."""
    rng = np.random.default_rng(7)
    alarms = 0
    for _ in range(walks):
        series = persistent(rng, memory, (inputs, 3000 + 90 * 24 + WEEK))
        reference = {str(number): one[:3000] for number, one in enumerate(series)}
        recent = {str(number): one[-WEEK:] + (move if number == 0 else 0.0) for number, one in enumerate(series)}
        alarms += any(one.drifted for one in find_shifts(reference, recent, psi=PSI, alpha=ALPHA))
    return alarms / walks


@pytest.mark.parametrize("memory", [0.0, 0.9, 0.97])
def test_inputs_that_only_remember_are_called_drifted_no_more_often_than_alpha(memory: float) -> None:
    assert share_of_alarms(memory) <= ALPHA
    assert share_of_alarms(memory, inputs=8, walks=25) <= ALPHA


def test_an_input_that_has_moved_is_found_among_others_that_have_not() -> None:
    assert share_of_alarms(0.9, move=3.0, walks=30) > 0.9
    assert share_of_alarms(0.9, inputs=8, move=3.0, walks=15) > 0.6


def test_one_slow_swing_is_worth_one_value_and_proves_nothing() -> None:
    rng = np.random.default_rng(0)
    reference = persistent(rng, 0.999, (1, 5000))[0]
    shift = find_shifts({"a": reference}, {"a": np.full(WEEK, 9.0)}, psi=PSI, alpha=ALPHA)[0]
    assert shift.ks == 1.0
    assert shift.psi > 2
    assert shift.effective == 1.0
    assert not shift.drifted


def test_a_value_that_is_no_longer_known_is_drift() -> None:
    reference = np.random.default_rng(0).standard_normal(1000)
    shift = find_shifts({"a": reference}, {"a": np.full(50, np.nan)}, psi=PSI, alpha=ALPHA)[0]
    assert shift.drifted


def test_a_constant_that_stays_is_none_and_one_that_changes_is() -> None:
    same, other = (
        find_shifts({"a": np.full(500, 2.0)}, {"a": np.full(50, value)}, psi=PSI, alpha=ALPHA)[0]
        for value in (2.0, 3.0)
    )
    assert (same.psi, same.ks, same.p_value) == (pytest.approx(0.0, abs=0.05), 0.0, 1.0)
    assert other.drifted


def test_an_input_without_values_to_compare_is_left_out() -> None:
    values = np.arange(100.0)
    found = find_shifts(
        {"new": values[:3], "gone": values, "here": values},
        {"new": values, "gone": values[:0], "here": values},
        psi=PSI,
        alpha=ALPHA,
    )
    assert [one.name for one in found] == ["here"]


def test_the_memory_of_a_series_is_that_of_its_process() -> None:
    series = persistent(np.random.default_rng(3), 0.9, (1, 50_000))[0]
    assert autocorrelation_time(series) == pytest.approx((1 + 0.9) / (1 - 0.9), rel=0.15)
    assert autocorrelation_time(np.exp(series)) == autocorrelation_time(series)


def overlapping(
    rng: np.random.Generator, days: int, *, excess: float = 0.0, since_day: int = 0
) -> tuple[Losses, Losses]:
    """Hourly losses of two forecasters that share 23 of 24 outcomes; the champion's are higher from a day on."""
    hours = days * HORIZON
    shocks = rng.standard_t(5, size=(3, hours + HORIZON - 1))
    common, mine, rival = (np.convolve(one, np.full(HORIZON, 1 / HORIZON), "valid") for one in shocks)
    mine = mine + excess * mine.std() * (np.arange(hours) >= since_day * HORIZON)
    times, groups = HOUR_S * np.arange(hours), np.full(hours, "a")
    champion, baseline = (
        Losses("loss", 5 + common + one, times, groups, overlap=HORIZON - 1, step=HOUR_S) for one in (mine, rival)
    )
    return champion, baseline


def first_alarm(champion: Losses, baseline: Losses, *, every_days: int = 7) -> int | None:
    """The day of the first weekly look with an alarm."""
    for day in range(every_days, len(champion.values) // HORIZON + 1, every_days):
        known = slice(0, day * HORIZON)
        parts = (
            Losses("loss", one.values[known], one.times[known], one.groups[known], one.overlap, step=one.step)
            for one in (champion, baseline)
        )
        if detect_worsening(*parts, threshold=THRESHOLD).drifted:
            return day
    return None


def test_a_model_that_is_as_good_as_the_baseline_is_hardly_ever_called_worse_within_a_year() -> None:
    rng = np.random.default_rng(1)
    alarms = sum(first_alarm(*overlapping(rng, 365), every_days=30) is not None for _ in range(40))
    assert alarms / 40 <= LOSS_ALPHA


def test_a_model_that_has_become_worse_is_found_with_about_the_day_and_not_before_it() -> None:
    rng = np.random.default_rng(2)
    for _ in range(5):
        champion, baseline = overlapping(rng, 365, excess=3.0, since_day=120)
        alarm = first_alarm(champion, baseline)
        assert alarm is not None
        assert 120 < alarm < 220
        since = detect_worsening(champion, baseline, threshold=THRESHOLD).since
        assert since is not None
        assert abs(since / (HORIZON * HOUR_S) - 120) < 30


def test_years_of_being_better_do_not_hide_that_a_model_has_become_worse() -> None:
    rng = np.random.default_rng(3)
    better, worse = overlapping(rng, 300, excess=-3.0), overlapping(rng, 100, excess=3.0)
    joined = [
        Losses(
            "loss",
            np.concatenate([one.values, two.values]),
            HOUR_S * np.arange(400 * HORIZON),
            np.full(400 * HORIZON, "a"),
            HORIZON - 1,
            step=HOUR_S,
        )
        for one, two in zip(better, worse, strict=True)
    ]
    assert detect_worsening(*joined, threshold=THRESHOLD).drifted


def test_a_champion_whose_loss_is_no_number_has_become_worse() -> None:
    champion, baseline = overlapping(np.random.default_rng(4), 100)
    broken = np.where(champion.times >= 50 * HORIZON * HOUR_S, np.nan, champion.values)
    champion = Losses("loss", broken, champion.times, champion.groups, champion.overlap, step=champion.step)
    assert detect_worsening(champion, baseline, threshold=THRESHOLD).drifted


def test_losses_of_other_items_are_refused() -> None:
    champion, _ = overlapping(np.random.default_rng(5), 10)
    _, other = overlapping(np.random.default_rng(5), 11)
    with pytest.raises(ValueError, match="different items"):
        detect_worsening(champion, other, threshold=THRESHOLD)


def test_with_too_few_blocks_nothing_is_said() -> None:
    found = detect_worsening(*overlapping(np.random.default_rng(6), 3, excess=9.0), threshold=THRESHOLD)
    assert (found.statistic, found.blocks, found.drifted) == (0.0, 0, False)
