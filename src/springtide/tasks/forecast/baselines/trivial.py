"""Nothing changes, the past slope goes on, the last season comes again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from springtide.tasks.forecast.baselines.predictor import fit_around, thin

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from springtide.tasks.forecast.baselines.predictor import Predictor
    from springtide.tasks.forecast.items import Windows

__all__ = ["fit_drift", "fit_last_value", "fit_seasonal_naive"]


def fit_last_value(windows: Windows) -> Predictor:
    """Nothing changes; intervals are the empirical quantiles of past changes of the same series."""
    return fit_around(windows, lambda windows, items: np.zeros((len(items), windows.recipe.horizon)), _sample(windows))


def fit_drift(windows: Windows) -> Predictor:
    """The mean change of the training part goes on; intervals are past errors around it."""
    return fit_around(windows, _fit_slope(windows), _sample(windows))


def fit_seasonal_naive(windows: Windows) -> Predictor:
    """The same step of the last season, with the empirical quantiles of its past errors.

    Source: Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 3rd edition, 5.2.
    """
    return fit_around(windows, _seasonal_change, _sample(windows))


def _sample(windows: Windows) -> NDArray[np.int64]:
    return thin(windows.train)


def _fit_slope(windows: Windows) -> Callable[[Windows, NDArray[np.int64]], NDArray[np.float64]]:
    """The mean change per step of each series over the training part."""
    panel = windows.panel
    slope = np.zeros(len(panel.series))
    for index, start in enumerate(panel.bounds[:-1]):
        mine = windows.train[panel.owner[windows.train] == index]
        if len(mine):
            first, last = max(start, mine.min() - windows.recipe.window + 1), mine.max()
            slope[index] = (panel.level[last] - panel.level[first]) / (last - first)
    owner = panel.owner
    steps = np.arange(1, windows.recipe.horizon + 1)
    return lambda _, items: slope[owner[items]][:, None] * steps


def _seasonal_change(windows: Windows, items: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n, horizon) change from the item to the same step of the last season that is already known."""
    season, level = windows.season, windows.panel.level
    steps = np.arange(1, windows.recipe.horizon + 1)
    back = steps - season * np.ceil(steps / season).astype(np.int64)
    first = windows.panel.bounds[windows.panel.owner[items]]
    known = np.maximum(items[:, None] + back, first[:, None])
    change: NDArray[np.float64] = level[known] - level[items][:, None]
    return change
