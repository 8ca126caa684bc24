"""How much a series has moved of late: the scale on which quantiles stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.signal import lfilter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from springtide.tasks.forecast.panel import Panel

__all__ = ["DECAYS", "FLOOR", "decay_weights", "ewma_volatility"]

DECAYS = (0.8, 0.9, 0.94, 0.97, 0.985, 0.993)
FLOOR = 1e-6  # in units of the level: keeps a flat window from dividing by zero


def decay_weights(window: int, decay: float) -> NDArray[np.float64]:
    """(window - 1,) weights of the changes inside a window, the newest last; they sum to 1."""
    weights = decay ** np.arange(window - 2, -1, -1, dtype=np.float64)
    normal: NDArray[np.float64] = weights / weights.sum()
    return normal


def ewma_volatility(panel: Panel, *, window: int, decay: float) -> NDArray[np.float64]:
    """Exponentially weighted root mean square of the one-step changes inside each row's window.

    Parameters
    ----------
    panel : Panel
        Series on their grid.
    window : int
        Rows that count, the row itself included.
    decay : float
        Weight of a change relative to the one after it, in (0, 1).

    Returns
    -------
    (rows,) float64
        In units of the level (log price, or y) per step; never below `FLOOR`.

    Notes
    -----
    Source: RiskMetrics Technical Document, J.P. Morgan/Reuters 1996, 4th edition, section 5.2; here cut off at
    the window, so that a served window of that length gives the same number.
    """
    squares = np.square(np.diff(panel.level, prepend=panel.level[:1]))
    squares[panel.bounds[:-1]] = 0.0  # no change into the first row of a series
    volatility = np.empty(len(squares))
    terms = window - 1
    total = (1 - decay**terms) / (1 - decay)
    for start, stop in zip(panel.bounds[:-1], panel.bounds[1:], strict=True):
        running = lfilter([1.0], [1.0, -decay], squares[start:stop])
        older = np.concatenate([np.zeros(min(terms, stop - start)), running[: max(0, stop - start - terms)]])
        volatility[start:stop] = (running - decay**terms * older) / total
    result: NDArray[np.float64] = np.sqrt(np.maximum(volatility, 0.0) + FLOOR**2)
    return result
