"""Exponential smoothing and the Theta method. Needs ``statsforecast``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from statsforecast.ets import forward_ets
from statsforecast.models import AutoETS, DynamicOptimizedTheta

from springtide.domain.errors import SettingsError
from springtide.tasks.forecast.baselines.predictor import fit_around, thin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from springtide.tasks.forecast.baselines.predictor import Predictor
    from springtide.tasks.forecast.items import Windows

    Floats = NDArray[np.float64]

__all__ = ["fit_ets", "fit_theta"]

MOST_SERIES = 100  # that are smoothed; a fit takes up to half a second
LONGEST_SEASON = 24  # steps that the library can smooth
FITTED_ROWS, FITTED_SEASONS = 500, 30  # the newest of the training part that smoothing is fitted to: the larger
FEWEST_ROWS = 20  # a shorter series stays where it is
MOST_FORECASTS = 5_000  # of the Theta method, each of which takes a few milliseconds
THETA_ROWS = 400  # the newest of a window: time grows with the square
THETA_SAMPLE = 500  # training items whose errors become intervals, or `THETA_EACH` of every series
THETA_EACH = 40


def fit_ets(windows: Windows) -> Predictor:
    """Exponential smoothing with additive errors and seasons; trend and damping by AICc.

    Fitted once to each series, then its states are carried forward over the rows that come. Seasons longer than
    `LONGEST_SEASON` are not seen. Source: Hyndman, Koehler, Ord & Snyder 2008, doi:10.1007/978-3-540-71918-2.

    Raises
    ------
    SettingsError
        If there are so many series that the fits would take minutes.
    """
    panel = windows.panel
    if len(panel.series) > MOST_SERIES:
        raise SettingsError(
            f'the baseline "ets" is fitted to at most {MOST_SERIES} series, here are {len(panel.series)}',
            where="gate.baselines",
            do="name fewer `series`, or leave it out",
        )
    season = windows.season if windows.season <= LONGEST_SEASON else 1
    models: dict[
        int, tuple[int, Mapping[str, Any]]
    ] = {}  # by series: the first row of its history, and what was fitted
    for index in range(len(panel.series)):
        history = _history(windows, index, max(FITTED_ROWS, FITTED_SEASONS * season))
        level = panel.level[history]
        if len(level) >= max(FEWEST_ROWS, 2 * season) and np.ptp(level) > 0:
            smoothing = AutoETS(season_length=season, model="AZA" if season > 1 else "AZN")
            models[index] = history.start, smoothing.fit(level).model_

    def shift(windows: Windows, items: NDArray[np.int64]) -> Floats:
        """(n, horizon) change from each item; none where there is no model, or before its history."""
        change = np.zeros((len(items), windows.recipe.horizon))
        for index, (first, model) in models.items():
            mine = (windows.panel.owner[items] == index) & (items >= first)
            if mine.any():
                level = windows.panel.level[first : items[mine].max() + 1]
                states = forward_ets(model, level)["states"][1:]  # (rows, states), each after its row
                at = items[mine] - first
                change[mine] = _path(model, states[at], windows.recipe.horizon) - level[at][:, None]
        return change

    begin = np.array([models[index][0] if index in models else -1 for index in range(len(panel.series))])
    seen = windows.train[windows.train >= begin[panel.owner[windows.train]]]
    return fit_around(windows, shift, thin(seen))


def fit_theta(windows: Windows) -> Predictor:
    """The dynamic optimised Theta method, fitted anew to the window of every item.

    Source: Fiorucci, Pellegrini, Louzada, Petropoulos & Koehler 2016, doi:10.1016/j.ijforecast.2016.02.005.

    Raises
    ------
    SettingsError
        If there are so many judging items that it would take minutes.
    """
    sample = thin(windows.train, max(THETA_SAMPLE, THETA_EACH * len(windows.panel.series)))
    if (fits := len(sample) + len(windows.judging)) > MOST_FORECASTS:
        raise SettingsError(
            f'the baseline "theta" would be fitted {fits:,} times ({len(windows.judging):,} judging items), '
            f"which takes minutes; the limit is {MOST_FORECASTS:,}",
            where="gate.baselines",
            do="raise `stride`, shorten `gate.judge`, name fewer `series`, or leave it out",
        )
    method = DynamicOptimizedTheta(season_length=windows.season)

    def shift(windows: Windows, items: NDArray[np.int64]) -> Floats:
        """(n, horizon) change from each item; none where the window is flat."""
        horizon = windows.recipe.horizon
        change = np.zeros((len(items), horizon))
        for place, item in enumerate(items):
            level = windows.panel.level[item + 1 - min(windows.recipe.window, THETA_ROWS) : item + 1]
            if np.ptp(level) > 0:
                change[place] = method.forecast(level, h=horizon)["mean"] - level[-1]
        return change

    return fit_around(windows, shift, sample)


def _history(windows: Windows, index: int, most: int) -> slice:
    """The newest rows of a series in its training part, at most so many."""
    mine = windows.train[windows.panel.owner[windows.train] == index]
    if not len(mine):
        return slice(0, 0)
    stop = int(mine.max()) + 1
    return slice(max(int(mine.min()) - windows.recipe.window + 1, stop - most), stop)


def _path(model: Mapping[str, Any], states: Floats, horizon: int) -> Floats:
    """(n, horizon) point forecasts from (n, states): level, slope where there is one, newest to oldest season."""
    _, trend, seasonal, damped = model["components"]
    steps = np.arange(1, horizon + 1)
    path = np.repeat(states[:, :1], horizon, axis=1)
    if trend != "N":
        damping = model["par"][3] if damped == "D" else 1.0
        path += states[:, 1:2] * np.cumsum(damping**steps)
    if seasonal != "N":
        path += states[:, -1 - (steps - 1) % model["m"]]
    return path
