"""The terms that features are made of, at the last of a few rows; `expressions` has the same words for whole columns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from springtide.tasks.forecast.features.feature import Floats, Kind

__all__ = ["changes", "level", "mean", "ratio", "rms", "total", "weighted"]


def level(values: Floats, kind: Kind) -> Floats:
    """The scale on which changes are added up: the log of a price, or a plain value itself."""
    return np.log(values) if kind == "candles" else values


def changes(values: Floats) -> Floats:
    """(n - 1,) from each row to the next."""
    return values[1:] - values[:-1]


def weighted(values: Floats, weights: Floats) -> float:
    """The weighted sum of the last rows; the oldest weight stands first."""
    return float(values[-len(weights) :] @ weights)


def total(values: Floats, steps: int) -> float:
    """The sum of the last `steps` rows."""
    return float(np.add.reduce(values[-steps:]))


def mean(values: Floats, steps: int) -> float:
    """The mean of the last `steps` rows."""
    return total(values, steps) / steps


def rms(values: Floats, steps: int) -> float:
    """The root mean square of the last `steps` rows."""
    last = values[-steps:]
    return math.sqrt(float(last @ last) / steps)


def ratio(above: float, below: float, *, flat: float = 0.0) -> float:
    """``above / below``, or `flat` where nothing has moved."""
    return above / below if below != 0 else flat
