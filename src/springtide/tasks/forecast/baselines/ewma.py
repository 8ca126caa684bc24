"""Past changes in units of the volatility then, times the volatility now: the table that a network starts at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from springtide.evaluation.scores import pinball
from springtide.tasks.forecast.baselines.predictor import changes_after, quantile_table, thin, to_target
from springtide.tasks.forecast.volatility import DECAYS, ewma_volatility

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from springtide.tasks.forecast.items import Windows

__all__ = ["ScaledQuantiles", "fit_scaled_quantiles"]


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
    sample = thin(windows.train)
    changes = changes_after(windows, sample)
    levels = np.array(windows.recipe.levels)
    best, least = None, np.inf
    for decay in DECAYS:
        volatility = ewma_volatility(windows.panel, window=windows.recipe.window, decay=decay)[sample]
        table = quantile_table(changes / volatility[:, None], levels)
        loss = float(pinball(changes, volatility[:, None, None] * table, levels).mean())
        if loss < least:
            best, least = ScaledQuantiles(decay, table), loss
    assert best is not None  # DECAYS is not empty and losses are finite
    return best
