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
    step : int
        Distance of two successive prediction times, in the unit of `times`.
    slices : mapping
        (n,) labels of the items, by what they say: the ``hour`` of the day, the ``regime`` of volatility.
    calibration : mapping
        For each quantile level the share of outcomes that were not above the forecast quantile.
    question : str
        All that was asked, as the settings say it; empty where the groups of the items say it.
    clock : str
        What `times` count, where that is not the time of all items of the house: a column of a table.
    """

    name: str
    values: NDArray[np.float64]
    times: NDArray[np.int64]
    groups: NDArray[np.str_]
    overlap: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    step: int = 1
    slices: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    calibration: Mapping[float, float] = field(default_factory=dict)
    question: str = ""
    clock: str = ""

    @property
    def mean(self) -> float:
        """The mean loss over all items."""
        return float(np.mean(self.values))

    def check_same_items(self, rival: Losses) -> None:
        """Refuse, with a `ValueError`, a rival that was asked for other items."""
        if not (np.array_equal(self.times, rival.times) and np.array_equal(self.groups, rival.groups)):
            raise ValueError("challenger and rival were judged on different items")
