"""The terms that features are made of, over whole columns; `tails` has the same words for the newest row.

Sums are weighted rolling sums: Polars works each of them out anew from its own rows. Its plain rolling sums add the row
that comes and take away the one that goes, and so carry rounding of rows far beyond a feature's reach.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from springtide.tasks.forecast.features.feature import Kind

__all__ = ["ago", "changes", "level", "mean", "ratio", "rms", "total", "weighted"]


def level(column: str, kind: Kind) -> pl.Expr:
    """The scale on which changes are added up: the log of a price, or a plain value itself."""
    return pl.col(column).log() if kind == "candles" else pl.col(column)


def changes(values: pl.Expr) -> pl.Expr:
    """From each row to the next; NaN at the first."""
    return values - values.shift(1, fill_value=math.nan)


def weighted(values: pl.Expr, weights: Sequence[float]) -> pl.Expr:
    """The weighted sum of the last rows; the oldest weight stands first."""
    return values.rolling_sum(len(weights), weights=list(weights))


def total(values: pl.Expr, steps: int) -> pl.Expr:
    """The sum of the last `steps` rows."""
    return weighted(values, [1.0] * steps)


def mean(values: pl.Expr, steps: int) -> pl.Expr:
    """The mean of the last `steps` rows."""
    return total(values, steps) / steps


def rms(values: pl.Expr, steps: int) -> pl.Expr:
    """The root mean square of the last `steps` rows."""
    return mean(values.pow(2), steps).sqrt()


def ratio(above: pl.Expr, below: pl.Expr, *, flat: float = 0.0) -> pl.Expr:
    """``above / below``, or `flat` where nothing has moved."""
    return pl.when(below != 0).then(above / below).otherwise(flat)


def ago(values: pl.Expr, rows: pl.Expr) -> pl.Expr:
    """The values that stood `rows` rows earlier, a number of its own for each row; null before the first."""
    here = pl.int_range(pl.len())
    return values.gather(pl.when(here >= rows).then(here - rows))
