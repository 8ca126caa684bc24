"""Whether two forms of one model give the same answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TOLERANCE", "relative_difference"]

TOLERANCE = 1e-4  # the largest relative difference that passes; float32 has seven digits, trees add a thousand numbers


def relative_difference(given: NDArray[Any], expected: NDArray[Any]) -> float:
    """The largest difference, in units of the root mean square of what is expected.

    Single answers are no measure: a mean of numbers of both signs passes through zero. (For items of many numbers, as
    forecasts are, `springtide.evaluation.parity` is stricter: in units of each item, and of two forms of one network.)

    Parameters
    ----------
    given, expected : arrays of n answers
        Numbers for the same n rows; (n,) and (n, 1) are the same.

    Returns
    -------
    float
        0 where they are equal, infinite where shapes differ; NaN where a value is not a number.

    Examples
    --------
    >>> relative_difference(np.array([[1.0], [2.002]]), np.array([1.0, 2.0])) < 2e-3
    True
    """
    given, expected = given.reshape(len(given), -1), expected.reshape(len(expected), -1)
    if given.shape != expected.shape:
        return float("inf")
    scale = float(np.sqrt(np.mean(np.square(expected, dtype=np.float64)))) or 1.0
    return float(np.max(np.abs(given.astype(np.float64) - expected), initial=0.0)) / scale
