"""Trivial rivals: vectorised, fitted on the training part only, asked for the same items as everyone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from springtide.evaluation.scores import pinball
from springtide.tasks.forecast.volatility import DECAYS, ewma_volatility

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from springtide.tasks.forecast.items import Windows
    from springtide.tasks.forecast.panel import Panel

    Predictor = Callable[[Windows, NDArray[np.int64]], NDArray[np.float64]]
    """From windows and (n,) items to (n, horizon, levels) quantiles in the unit of the target."""

__all__ = ["ScaledQuantiles", "fit_baselines", "fit_scaled_quantiles"]

MOST_ITEMS = 40_000  # training items that quantiles are estimated from, evenly spread


def fit_baselines(windows: Windows) -> Mapping[str, Predictor]:
    """Every trivial rival of a run, by name.

    ``last-value``
        Nothing changes; intervals are the empirical quantiles of past changes of the same series.
    ``drift``
        The mean change of the training part goes on; intervals as above, around it.
    ``seasonal-naive``
        The same step of the last season (Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 3rd
        edition, 5.2), with the empirical quantiles of its past errors.
    ``ewma-volatility``
        Nothing changes; intervals are past changes in units of the volatility then, times the volatility now.
    """
    return {
        "last-value": _fit_shifted(windows, lambda windows, items: np.zeros((len(items), windows.recipe.horizon))),
        "drift": _fit_shifted(windows, _fit_drift(windows)),
        "seasonal-naive": _fit_shifted(windows, _seasonal_change),
        "ewma-volatility": fit_scaled_quantiles(windows),
    }


@dataclass(frozen=True, slots=True, eq=False)
class ScaledQuantiles:
    """Quantiles of past changes in units of volatility, times the volatility at the item.

    Attributes
    ----------
    decay : float
        Of the volatility; chosen on the training part.
    table : (horizon, levels) float64
        Quantiles of (level at step k - level at the item) / volatility at the item.
    """

    decay: float
    table: NDArray[np.float64]

    def __call__(self, windows: Windows, items: NDArray[np.int64]) -> NDArray[np.float64]:
        """Quantiles (n, horizon, levels) in the unit of the target."""
        volatility = ewma_volatility(windows.panel, window=windows.recipe.window, decay=self.decay)[items]
        return to_target(windows.panel, items, volatility[:, None, None] * self.table)


def fit_scaled_quantiles(windows: Windows) -> ScaledQuantiles:
    """Choose decay and quantiles with the least pinball loss on the training items."""
    sample = _sample(windows.train)
    changes = _changes(windows, sample)
    levels = np.array(windows.recipe.levels)
    best, least = None, np.inf
    for decay in DECAYS:
        volatility = ewma_volatility(windows.panel, window=windows.recipe.window, decay=decay)[sample]
        table = _quantiles(changes / volatility[:, None], levels)
        loss = float(pinball(changes, volatility[:, None, None] * table, levels).mean())
        if loss < least:
            best, least = ScaledQuantiles(decay, table), loss
    assert best is not None  # DECAYS is not empty and losses are finite
    return best


def to_target(panel: Panel, items: NDArray[np.int64], changes: NDArray[np.float64]) -> NDArray[np.float64]:
    """From (n, horizon, levels) changes of the level to values of the target."""
    level = panel.level[items][:, None, None] + changes
    return np.exp(level) if panel.logarithmic else level


def _fit_shifted(windows: Windows, shift: Callable[[Windows, NDArray[np.int64]], NDArray[np.float64]]) -> Predictor:
    """A point forecast `shift` (n, horizon) as the median, with the empirical spread of its errors in each series."""
    sample = _sample(windows.train)
    errors = _changes(windows, sample) - shift(windows, sample)
    owner = windows.panel.owner
    levels = np.array(windows.recipe.levels)
    everyone = _spread(errors, levels)
    tables = np.stack(
        [
            _spread(errors[owner[sample] == index], levels) if np.any(owner[sample] == index) else everyone
            for index in range(len(windows.panel.series))
        ]
    )

    def predict(windows: Windows, items: NDArray[np.int64]) -> NDArray[np.float64]:
        return to_target(windows.panel, items, shift(windows, items)[:, :, None] + tables[owner[items]])

    return predict


def _fit_drift(windows: Windows) -> Callable[[Windows, NDArray[np.int64]], NDArray[np.float64]]:
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


def _sample(items: NDArray[np.int64]) -> NDArray[np.int64]:
    return items[:: max(1, len(items) // MOST_ITEMS)]


def _changes(windows: Windows, items: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n, horizon) changes of the level from each item to each step after it."""
    level = windows.panel.level
    change: NDArray[np.float64] = (
        level[items[:, None] + np.arange(1, windows.recipe.horizon + 1)] - level[items][:, None]
    )
    return change


def _spread(errors: NDArray[np.float64], levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """(horizon, levels) quantiles of errors around their median: the point forecast itself stays the median."""
    table = _quantiles(errors, levels)
    return table - table[:, len(levels) // 2, None]


def _quantiles(values: NDArray[np.float64], levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, horizon) values to (horizon, levels) empirical quantiles."""
    table: NDArray[np.float64] = np.quantile(values, levels, axis=0).T
    return table
