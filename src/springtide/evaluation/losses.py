"""One loss per judging item, with what is needed to compare two predictors honestly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["Losses"]


@dataclass(frozen=True, slots=True, eq=False)
class Losses:
    """One predictor's losses on the judging items; every rival has the same items in the same order.

    Attributes
    ----------
    name : str
        What the loss is, with its unit, as it stands in the verdict.
    values : (n,) float64
        The loss of each item; lower is better.
    times : (n,) int64
        When each item was predicted, in seconds since 1970 UTC; any whole number where there is no time.
    groups : (n,) str
        The series (or other group) of each item.
    overlap : int
        How many of the following distinct times share outcomes with an item; 0 when items are independent.
    metrics : mapping
        Further figures over all items, for people.
    """

    name: str
    values: NDArray[np.float64]
    times: NDArray[np.int64]
    groups: NDArray[np.str_]
    overlap: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """The mean loss over all items."""
        return float(np.mean(self.values))
