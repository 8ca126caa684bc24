"""Other series of the same table at the same time: how they moved, and how the series did beside them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import polars as pl

from springtide.tasks.forecast.features import expressions, tails
from springtide.tasks.forecast.features.feature import Columns, Feature, Kind
from springtide.tasks.forecast.features.joining import seen_column, value_column

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["build_driver"]

RETURNS = (1, 6, 24)  # steps
SHORT, LONG = 24, 168  # steps over which volatility is taken


def build_driver(driver: str, *, kind: Kind) -> list[Feature]:
    """The features of one driver; NaN where it has no row of its own at the cutoff.

    A driver's step that was missing is no move, but it is only known to be missing once a later row has come. So a
    forecast made at such a step does not know the driver, in training as in serving.

    Returns are in units of what a walk of the driver's own volatility over `SHORT` steps would make; volatility is that
    over `SHORT` steps beside that over `LONG`; strength is the series' own return, in units of its own volatility, less
    the driver's.
    """
    theirs, own = value_column(driver), "close" if kind == "candles" else "y"
    seen = seen_column(driver)

    def known(batch: pl.Expr) -> pl.Expr:
        return pl.when(pl.col(seen) > 0).then(batch).otherwise(math.nan)

    def if_known(newest: Callable[[Columns], float]) -> Callable[[Columns], float]:
        return lambda columns: newest(columns) if columns[seen][-1] > 0 else math.nan

    def volatility(columns: Columns) -> float:
        moves = tails.changes(tails.level(columns[theirs][-LONG - 1 :], kind))
        return tails.ratio(tails.rms(moves, SHORT), tails.rms(moves, LONG))

    change = expressions.changes(expressions.level(theirs, kind))
    wildness = expressions.ratio(expressions.rms(change, SHORT), expressions.rms(change, LONG))
    strength = _return(own, SHORT, kind) - _return(theirs, SHORT, kind)
    mine, other = _newest_return(own, SHORT, kind), _newest_return(theirs, SHORT, kind)
    facts = [
        *(
            (f"return_{steps}", SHORT, _return(theirs, steps, kind), _newest_return(theirs, steps, kind))
            for steps in RETURNS
        ),
        (f"volatility_{SHORT}", LONG, wildness, volatility),
        (f"strength_{SHORT}", SHORT, strength, lambda columns: mine(columns) - other(columns)),
    ]
    return [
        Feature(f"{name}_of_{driver}", f"driver {driver}", changes + 1, known(batch), if_known(newest))
        for name, changes, batch, newest in facts
    ]


def _return(column: str, steps: int, kind: Kind) -> pl.Expr:
    level = expressions.level(column, kind)
    unit = expressions.rms(expressions.changes(level), SHORT) * math.sqrt(steps)
    return expressions.ratio(level - level.shift(steps), unit)


def _newest_return(column: str, steps: int, kind: Kind) -> Callable[[Columns], float]:
    def newest(columns: Columns) -> float:
        levels = tails.level(columns[column][-SHORT - 1 :], kind)
        unit = tails.rms(tails.changes(levels), SHORT) * math.sqrt(steps)
        return tails.ratio(float(levels[-1] - levels[-1 - steps]), unit)

    return newest
