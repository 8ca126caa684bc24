"""Whether two forms of one model give the same answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TOLERANCE", "relative_difference"]

TOLERANCE = 1e-5  # the largest relative difference that passes


def relative_difference(given: NDArray[Any], expected: NDArray[Any]) -> float:
    """The largest difference, in units of the largest expected value of the same item.

    Single values are no measure: a quantile of a series that changes its sign passes through zero. (Where an item is a
    single value, as the answer to a row of a table is, `springtide.trainers.parity` measures all of them together.)

    Parameters
    ----------
    given, expected : (n, ...) arrays
        Answers to the same n items.

    Returns
    -------
    float
        0 where they are equal; NaN where a value is not a number.

    Examples
    --------
    >>> relative_difference(np.array([[0.001, 100.0]]), np.array([[0.0, 100.0]]))
    1e-05
    """
    scale = np.abs(expected).reshape(len(expected), -1).max(axis=1, initial=np.finfo(np.float64).tiny)
    difference = np.abs(given - expected).reshape(len(expected), -1).max(axis=1, initial=0.0)
    return float(np.max(difference / scale, initial=0.0))
