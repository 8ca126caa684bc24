"""A feature: one number per row, from that row and a finite number of rows before it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["Columns", "Feature", "Floats", "Kind", "batch_features", "newest_features", "reach_of"]

Kind = Literal["candles", "plain"]
Floats = NDArray[np.float64]
Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Feature:
    """One fact at the cutoff, in two forms that agree.

    Attributes
    ----------
    name : str
        ``rsi_14``, ``return_24_of_ETH/USDT``, ``funding.rate``.
    group : str
        What it is explained with: ``indicators``, ``timeframe 4h``, ``driver ETH/USDT``, ``calendar``, ``outside funding``.
    reach : int
        Rows that it looks at, its own included.
    batch : pl.Expr
        Its value at every row of one series on its grid.
    newest : callable
        Its value at the last row, from columns of at least the last `reach` rows.
    """

    name: str
    group: str
    reach: int
    batch: pl.Expr
    newest: Callable[[Columns], float]


def batch_features(features: Sequence[Feature], frame: pl.DataFrame) -> Floats:
    """Every feature at every row, for training and judging.

    Parameters
    ----------
    features : sequence of Feature
        As `build_features` gives them; their order is the order of the columns.
    frame : DataFrame
        One series on its grid, in time order: ``ds`` (int64, seconds since 1970 UTC), candle columns or ``y``, and what
        `joining` adds for drivers and outside tables.

    Returns
    -------
    (rows, k) float64
        NaN where a feature is not known: its reach begins before the series does, or what it reads is not known.
    """
    if not features:
        return np.empty((frame.height, 0))
    values = frame.select(
        feature.batch.cast(pl.Float64).fill_null(math.nan).alias(feature.name) for feature in features
    ).to_numpy(order="c", writable=True)
    for place, feature in enumerate(features):
        values[: feature.reach - 1, place] = math.nan
    return values


def newest_features(features: Sequence[Feature], columns: Columns) -> Floats:
    """Every feature at the last row, for serving.

    Parameters
    ----------
    features : sequence of Feature
        As `build_features` gives them.
    columns : mapping
        The columns that `batch_features` reads, of the newest rows of one series on its grid.

    Returns
    -------
    (k,) float64
        What `batch_features` says of that row; NaN for a feature that reaches further back than the columns do.
    """
    rows = len(columns["ds"])
    found = (feature.newest(columns) if feature.reach <= rows else math.nan for feature in features)
    return np.fromiter(found, np.float64, count=len(features))


def reach_of(features: Sequence[Feature]) -> int:
    """Rows that the whole set looks at, the cutoff's own included; 0 when there are no features."""
    return max((feature.reach for feature in features), default=0)
