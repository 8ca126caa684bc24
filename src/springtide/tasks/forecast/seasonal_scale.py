"""How much a plain series changes from one season to the next: the scale on which its quantiles stand."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from springtide.tasks.forecast.volatility import FLOOR

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from springtide.tasks.forecast.items import Windows
    from springtide.tasks.forecast.panel import Panel

__all__ = ["STEP_SHARE", "has_seasons", "seasonal_scale"]

STEP_SHARE = 0.05  # of the usual change from step to step: the scale of a series that repeats itself exactly


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


def _mean_change(level: NDArray[np.float64], *, lag: int, terms: int) -> NDArray[np.float64]:
    """(rows,) mean of the newest `terms` absolute changes over `lag` steps; of all that are known where fewer are."""
    changes = np.zeros(len(level))
    changes[lag:] = np.abs(level[lag:] - level[:-lag])
    total = np.concatenate([[0.0], np.cumsum(changes)])
    ends = np.arange(1, len(level) + 1)
    known = np.clip(ends - lag, 1, terms)
    mean: NDArray[np.float64] = (total[ends] - total[np.maximum(ends - terms, 0)]) / known
    return mean
