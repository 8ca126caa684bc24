"""The regular grid on which windows are cut; the same code when training and when serving."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["market_of", "on_grid"]


def on_grid(
    seconds: NDArray[np.int64], values: NDArray[np.float64], *, step_s: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """Put one series on its grid; a missing step repeats the last known value.

    Parameters
    ----------
    seconds : (n,) int64
        Times, rising, seconds since 1970 UTC.
    values : (n, channels) float64
        Candles (open, high, low, close, volume) or one plain value.
    step_s : int
        Seconds between two steps.

    Returns
    -------
    seconds : (m,) int64
        Every step from the first to the last.
    values : (m, channels) float64
        A missing candle is flat at the last close, with volume 0.
    filled : (m,) bool
        True where the step was missing.
    """
    place = (seconds - seconds[0]) // step_s
    size = int(place[-1]) + 1
    source = np.full(size, -1, dtype=np.int64)
    source[place] = np.arange(len(place))
    filled = source < 0
    full = values[np.maximum.accumulate(source)]
    if values.shape[1] > 1:
        full[filled, :3] = full[filled, 3:4]
        full[filled, 4] = 0.0
    return seconds[0] + step_s * np.arange(size), full, filled


def market_of(
    seconds: NDArray[np.int64], close: NDArray[np.float64], filled: NDArray[np.bool_], bounds: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The whole market's move: at each time the mean absolute log-return of the series that have one.

    A filled step is no move: when a forecast is served, a step that is missing now has not been filled yet.

    Parameters
    ----------
    seconds, close, filled : (rows,)
        Time and close of each row, and whether it was missing, series after series.
    bounds : (s + 1,) int64
        Where each series begins and ends.

    Returns
    -------
    (rows,) float64
        0 at times at which no series has moved.
    """
    moves = np.abs(np.diff(np.log(close), prepend=np.log(close[:1])))
    known = ~filled
    known[bounds[:-1]] = False
    times, place = np.unique(seconds, return_inverse=True)
    total = np.bincount(place[known], weights=moves[known], minlength=len(times))
    count = np.bincount(place[known], minlength=len(times))
    mean: NDArray[np.float64] = (total / np.maximum(count, 1))[place]
    return mean
