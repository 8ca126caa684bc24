"""Longer bars built from the candles of a series: the last closed ones, and the one that is being built."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import polars as pl

from springtide.domain.errors import SettingsError
from springtide.domain.units import format_span
from springtide.tasks.forecast.features import expressions, tails
from springtide.tasks.forecast.features.feature import Columns, Feature, Floats

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

__all__ = ["BARS", "build_timeframe"]

BARS = 6  # closed bars that are looked at
MONDAY_S = 4 * 86_400  # 1970-01-05: bars of a day and less begin at midnight UTC, weeks on Mondays

Seconds = TypeVar("Seconds", int, pl.Expr)


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars of `size` candles, seen from one candle: it closes the newest of them, or belongs to the one being built."""

    step_s: int
    size: int

    def built(self, seconds: Seconds) -> Seconds:
        """Candles of the bar being built; 0 when the candle that begins at `seconds` ends where a bar does."""
        return (seconds + self.step_s - MONDAY_S) % (self.size * self.step_s) // self.step_s

    def building(self, columns: Columns) -> int:
        """Candles of the bar being built at the last row."""
        return self.built(int(columns["ds"][-1]))

    def range(self, columns: Columns, bars: int) -> float:
        """The log range that the last closed bars span together."""
        stop = len(columns["ds"]) - self.building(columns)
        rows = slice(stop - bars * self.size, stop)
        return math.log(np.maximum.reduce(columns["high"][rows]) / np.minimum.reduce(columns["low"][rows]))

    def ends(self, columns: Columns) -> Floats:
        """(BARS + 1,) the closes of the last closed bars."""
        stop = len(columns["close"]) - self.building(columns)
        ends: Floats = columns["close"][stop - 1 - BARS * self.size : stop : self.size]
        return ends


def build_timeframe(timeframe: timedelta, *, step_s: int) -> list[Feature]:
    """The features of bars of one length.

    A bar is closed once the candle of the cutoff ends where the bar does. Until then it is being built, from the candles
    up to the cutoff and no others: nothing of its future is in it. Moves and ranges are in units of the range that the
    last `BARS` closed bars span together; volatility is the root mean square of their log returns.

    Raises
    ------
    SettingsError
        If the bars are no multiple of the step.
    """
    bar_s, name = int(timeframe.total_seconds()), format_span(timeframe)
    if bar_s % step_s or bar_s == step_s:
        raise SettingsError(
            f"bars of {name} cannot be built from steps of {step_s} s",
            where="features.timeframes",
            do="name a multiple of the table's step",
        )
    bars = Bars(step_s, bar_s // step_s)
    return [
        Feature(f"{fact}_{name}", f"timeframe {name}", (BARS + 1) * bars.size, batch, newest)
        for fact, batch, newest in (*_closed_bars(bars), *_bar_being_built(bars))
    ]


def _closed_bars(bars: Bars) -> list[tuple[str, pl.Expr, Callable[[Columns], float]]]:
    """What the last closed bars did."""
    level, unit = pl.col("close").log(), _range(bars, BARS)
    returns = level - level.shift(bars.size)
    squares = pl.sum_horizontal(returns.shift(back * bars.size).pow(2) for back in range(BARS))

    def last_return(columns: Columns) -> float:
        *_, before, last = bars.ends(columns)
        return tails.ratio(math.log(last / before), bars.range(columns, BARS))

    def whole_return(columns: Columns) -> float:
        first, *_, last = bars.ends(columns)
        return tails.ratio(math.log(last / first), bars.range(columns, BARS))

    def last_range(columns: Columns) -> float:
        return tails.ratio(bars.range(columns, 1), bars.range(columns, BARS))

    def volatility(columns: Columns) -> float:
        return tails.rms(tails.changes(np.log(bars.ends(columns))), BARS)

    return [
        ("return_1", _closed(bars, expressions.ratio(returns, unit)), last_return),
        (f"return_{BARS}", _closed(bars, expressions.ratio(level - level.shift(BARS * bars.size), unit)), whole_return),
        ("range_1", _closed(bars, expressions.ratio(_range(bars, 1), unit)), last_range),
        (f"volatility_{BARS}", _closed(bars, (squares / BARS).sqrt()), volatility),
    ]


def _bar_being_built(bars: Bars) -> list[tuple[str, pl.Expr, Callable[[Columns], float]]]:
    """What the bar that is being built has done so far; 0 when the cutoff closes a bar."""
    built, unit = bars.built(pl.col("ds")), _closed(bars, _range(bars, BARS))
    opened = expressions.ago(pl.col("open").log(), pl.max_horizontal(built - 1, 0))
    bar = (pl.col("ds") - MONDAY_S) // (bars.size * bars.step_s)
    spread = pl.col("high").cum_max().over(bar).log() - pl.col("low").cum_min().over(bar).log()

    def distance(columns: Columns) -> float:
        if not (rows := bars.building(columns)):
            return 0.0
        return tails.ratio(math.log(columns["close"][-1] / columns["open"][-rows]), bars.range(columns, BARS))

    def spread_so_far(columns: Columns) -> float:
        if not (rows := bars.building(columns)):
            return 0.0
        high, low = columns["high"][-rows:], columns["low"][-rows:]
        return tails.ratio(math.log(np.maximum.reduce(high) / np.minimum.reduce(low)), bars.range(columns, BARS))

    def if_open(batch: pl.Expr) -> pl.Expr:
        return pl.when(built > 0).then(expressions.ratio(batch, unit)).otherwise(0.0)

    return [
        ("distance_from_open", if_open(pl.col("close").log() - opened), distance),
        ("range_so_far", if_open(spread), spread_so_far),
        ("elapsed", built / bars.size, lambda columns: bars.building(columns) / bars.size),
    ]


def _closed(bars: Bars, batch: pl.Expr) -> pl.Expr:
    """What is said of the bars that end at a row, at the row that closed the newest bar."""
    return expressions.ago(batch, bars.built(pl.col("ds")))


def _range(bars: Bars, count: int) -> pl.Expr:
    """The log range of the bars of which the newest ends at a row."""
    rows = count * bars.size
    return pl.col("high").rolling_max(rows).log() - pl.col("low").rolling_min(rows).log()
