"""How much a plain series changes from one season to the next: the scale on which its quantiles stand."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from springtide.tasks.forecast.volatility import FLOOR

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from springtide.tasks.forecast.items import Windows
    from springtide.tasks.forecast.panel import Panel

__all__ = ["STEP_SHARE", "SeasonalQuantiles", "fit_seasonal_quantiles", "has_seasons", "seasonal_scale"]

STEP_SHARE = 0.05  # of the usual change from step to step: the scale of a series that repeats itself exactly
MOST_ITEMS = 40_000  # training items that quantiles are estimated from, evenly spread


def has_seasons(windows: Windows) -> bool:
    """Whether a window shows how a plain series changes from one whole season to the next."""
    return windows.panel.kind == "plain" and windows.season > 1 and windows.recipe.window >= 2 * windows.season


def seasonal_scale(panel: Panel, *, window: int, season: int) -> NDArray[np.float64]:
    """Mean absolute change over one season inside each row's window.

    Parameters
    ----------
    panel : Panel
        Series on their grid.
    window : int
        Rows that count, the row itself included.
    season : int
        Steps of one season, less than `window`.

    Returns
    -------
    (rows,) float64
        In units of the level; never below `STEP_SHARE` of the mean absolute change from step to step, nor `FLOOR`.
        Rows with less than a window before them have what is known.

    Notes
    -----
    Source: the scale of Hyndman & Koehler 2006, doi:10.1016/j.ijforecast.2006.03.001; here over the window, so that
    a served window of that length gives the same number.
    """
    scale = np.empty(len(panel.level))
    for start, stop in pairwise(panel.bounds):
        level = panel.level[start:stop]
        seasonal = _mean_change(level, lag=season, terms=window - season)
        stepwise = _mean_change(level, lag=1, terms=window - 1)
        scale[start:stop] = np.maximum(seasonal, STEP_SHARE * stepwise)
    return np.maximum(scale, FLOOR)


@dataclass(frozen=True, slots=True, eq=False)
class SeasonalQuantiles:
    """The same step of the last season, with past errors in units of the seasonal scale then, times that scale now.

    Attributes
    ----------
    table : (horizon, levels) float64
        Quantiles of (level at step k - level at that step of the last season) / seasonal scale at the item, around
        their median: the point forecast is the seasonal naive.
    """

    table: NDArray[np.float64]

    def __call__(self, windows: Windows, items: NDArray[np.int64]) -> NDArray[np.float64]:
        """Quantiles (n, horizon, levels) in the unit of the target."""
        scale = seasonal_scale(windows.panel, window=windows.recipe.window, season=windows.season)[items]
        level = _last_season(windows, items)[:, :, None] + scale[:, None, None] * self.table
        return np.exp(level) if windows.panel.logarithmic else level


def fit_seasonal_quantiles(windows: Windows) -> SeasonalQuantiles:
    """Estimate the quantiles on the training items."""
    items = windows.train[:: max(1, len(windows.train) // MOST_ITEMS)]
    scale = seasonal_scale(windows.panel, window=windows.recipe.window, season=windows.season)[items]
    outcomes = windows.panel.level[items[:, None] + np.arange(1, windows.recipe.horizon + 1)]
    errors = (outcomes - _last_season(windows, items)) / scale[:, None]
    table = np.quantile(errors, np.array(windows.recipe.levels), axis=0).T  # (horizon, levels)
    middle = table.shape[1] // 2
    return SeasonalQuantiles(table - table[:, middle : middle + 1])


def _last_season(windows: Windows, items: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n, horizon) level at each step's place in the season that ends at the item."""
    back = np.arange(windows.recipe.horizon) % windows.season - windows.season + 1
    values: NDArray[np.float64] = windows.panel.level[items[:, None] + back]
    return values


def _mean_change(level: NDArray[np.float64], *, lag: int, terms: int) -> NDArray[np.float64]:
    """(rows,) mean of the newest `terms` absolute changes over `lag` steps; of all that are known where fewer are."""
    changes = np.zeros(len(level))
    changes[lag:] = np.abs(level[lag:] - level[:-lag])
    total = np.concatenate([[0.0], np.cumsum(changes)])
    ends = np.arange(1, len(level) + 1)
    known = np.clip(ends - lag, 1, terms)
    mean: NDArray[np.float64] = (total[ends] - total[np.maximum(ends - terms, 0)]) / known
    return mean
