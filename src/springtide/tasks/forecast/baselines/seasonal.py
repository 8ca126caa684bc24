"""Past errors of the seasonal naive in units of the seasonal scale then, times that scale now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from springtide.tasks.forecast.baselines.predictor import changes_after, quantile_table, thin, to_target
from springtide.tasks.forecast.seasonal_scale import seasonal_scale

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from springtide.tasks.forecast.items import Windows

__all__ = ["SeasonalQuantiles", "fit_seasonal_quantiles"]


@dataclass(frozen=True, slots=True, eq=False)
class SeasonalQuantiles:
    """The same step of the last season, with past errors in units of the seasonal scale: where a seasonal network starts.

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
        changes = _seasonal_change(windows, items)[:, :, None] + scale[:, None, None] * self.table
        return to_target(windows.panel, items, changes)


def fit_seasonal_quantiles(windows: Windows) -> SeasonalQuantiles:
    """Estimate the quantiles on the training items."""
    items = thin(windows.train)
    scale = seasonal_scale(windows.panel, window=windows.recipe.window, season=windows.season)[items]
    errors = (changes_after(windows, items) - _seasonal_change(windows, items)) / scale[:, None]
    table = quantile_table(errors, np.array(windows.recipe.levels))
    middle = table.shape[1] // 2
    return SeasonalQuantiles(table - table[:, middle : middle + 1])


def _seasonal_change(windows: Windows, items: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n, horizon) change of the level from the item to each step's place in the season that ends there."""
    level = windows.panel.level
    back = np.arange(windows.recipe.horizon) % windows.season - windows.season + 1
    change: NDArray[np.float64] = level[items[:, None] + back] - level[items][:, None]
    return change
