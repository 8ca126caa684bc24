"""Technical indicators of one series.

Prices come in only as ratios or in units of the series' own volatility, so that a value means the same at a price of 100
and of 60,000. Wilder's averages and the exponential ones of the MACD have no end by definition; here each is cut where the
rows that are left out would weigh less than `REMAINDER` together, and its weights sum to 1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from springtide.domain.errors import SettingsError
from springtide.tasks.forecast.features import expressions, tails
from springtide.tasks.forecast.features.feature import Columns, Feature, Floats, Kind
from springtide.tasks.forecast.features.spec import parse_indicator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["OF_CANDLES", "OF_VALUES", "build_indicators", "smoothing"]

REMAINDER = 1e-4
GROUP = "indicators"


def build_indicators(written: Sequence[str], *, kind: Kind) -> list[Feature]:
    """The features of indicators such as ``rsi`` or ``rsi:21``, in the order in which they are written.

    Raises
    ------
    SettingsError
        If one needs candles and the series are plain values.
    """
    features: list[Feature] = []
    for entry in written:
        name, wanted = parse_indicator(entry)
        if name in OF_CANDLES and kind == "plain":
            raise SettingsError(
                f"indicator {name!r} needs candles, the table holds plain values",
                where="features.indicators",
                do=f"leave it out; plain values have {', '.join(OF_VALUES)}",
            )
        for lengths in wanted:
            features += OF_CANDLES[name](*lengths) if name in OF_CANDLES else OF_VALUES[name](*lengths, kind=kind)
    return features


def smoothing(alpha: float) -> Floats:
    """(k,) weights of exponential smoothing, the newest last, cut at `REMAINDER`; they sum to 1.

    >>> smoothing(2 / 3)[-3:].round(3)
    array([0.074, 0.222, 0.667])
    """
    steps = math.ceil(math.log(REMAINDER) / math.log(1 - alpha))
    weights = (1 - alpha) ** np.arange(steps - 1, -1, -1, dtype=np.float64)
    normal: Floats = weights / weights.sum()
    return normal


def rsi(steps: int, *, kind: Kind) -> list[Feature]:
    """Relative strength index, 0 to 100; 50 when nothing has moved.

    Notes
    -----
    Source: Wilder 1978, New Concepts in Technical Trading Systems, section VI; his average is cut.
    """
    column, weights = _value(kind), smoothing(1 / steps)
    change = expressions.changes(pl.col(column))
    gain = expressions.weighted(change.clip(lower_bound=0.0), weights.tolist())
    loss = expressions.weighted((-change).clip(lower_bound=0.0), weights.tolist())

    def newest(columns: Columns) -> float:
        moves = tails.changes(columns[column][-len(weights) - 1 :])
        up = tails.weighted(np.maximum(moves, 0.0), weights)
        down = tails.weighted(np.maximum(-moves, 0.0), weights)
        return 100 * tails.ratio(up, up + down, flat=0.5)

    batch = 100 * expressions.ratio(gain, gain + loss, flat=0.5)
    return [Feature(f"rsi_{steps}", GROUP, len(weights) + 1, batch, newest)]


def macd(fast: int, slow: int, signal: int, *, kind: Kind) -> list[Feature]:
    """Moving average convergence/divergence and its histogram, in units of volatility over `slow` steps.

    Both are weighted sums of the changes of the level: an average of levels, less another one, does not depend on where
    the level is.

    Notes
    -----
    Source: Appel 2005, Technical Analysis: Power Tools for Active Investors, chapter 8; on the log of the price, and with
    averages that are cut.
    """
    line = _macd_weights(fast, slow)
    histogram = _less_average(line, smoothing(2 / (signal + 1)))
    name = f"{fast}_{slow}_{signal}"
    return [
        _weighted_changes(f"macd_{name}", line, slow, kind),
        _weighted_changes(f"macd_histogram_{name}", histogram, slow, kind),
    ]


def _macd_weights(fast: int, slow: int) -> Floats:
    """(k,) weights of the changes in the difference of two averages of the level, the newest last."""
    quick, lazy = smoothing(2 / (fast + 1)), smoothing(2 / (slow + 1))
    size = max(len(quick), len(lazy))
    of_levels = np.pad(quick, (size - len(quick), 0)) - np.pad(lazy, (size - len(lazy), 0))
    weights: Floats = np.cumsum(of_levels[::-1])[:-1][::-1]
    return weights


def _less_average(line: Floats, signal: Floats) -> Floats:
    """(k,) weights of the changes in a line less its own average."""
    averaged = np.convolve(line, signal)
    difference: Floats = np.pad(line, (len(averaged) - len(line), 0)) - averaged
    return difference


def _weighted_changes(name: str, weights: Floats, steps: int, kind: Kind) -> Feature:
    """A weighted sum of changes, in units of the volatility of `steps` steps."""
    column = _value(kind)
    change = expressions.changes(expressions.level(column, kind))
    rows = max(len(weights), steps) + 1

    def newest(columns: Columns) -> float:
        moves = tails.changes(tails.level(columns[column][-rows:], kind))
        return tails.ratio(tails.weighted(moves, weights), tails.rms(moves, steps))

    batch = expressions.ratio(expressions.weighted(change, weights.tolist()), expressions.rms(change, steps))
    return Feature(name, GROUP, rows, batch, newest)


def bollinger(steps: int, *, kind: Kind) -> list[Feature]:
    """Where the level stands between Bollinger's bands (-1 lower, 1 upper), and how wide they are.

    The half width, two standard deviations, is in units of what a walk of as many steps has: volatility x sqrt(steps).

    Notes
    -----
    Source: Bollinger 2001, Bollinger on Bollinger Bands, chapters 7 and 8 (%b and BandWidth); on the log of the price.
    """
    column = _value(kind)
    level = expressions.level(column, kind)
    change = expressions.changes(level)
    # all levels are taken from the newest one, so that no digits are lost where prices are high
    mean = -expressions.weighted(change, [back / steps for back in range(steps)])
    squares = pl.sum_horizontal((level.shift(back) - level).pow(2) for back in range(1, steps)) / steps
    deviation = (squares - mean.pow(2)).clip(lower_bound=0.0).sqrt()
    volatility = expressions.rms(change, steps)

    def band(columns: Columns) -> tuple[float, float, Floats]:
        levels = tails.level(columns[column][-steps - 1 :], kind)
        apart = levels[1:] - levels[-1]
        middle = tails.mean(apart, steps)
        return middle, 2 * tails.rms(apart - middle, steps), levels

    def position(columns: Columns) -> float:
        middle, half, _ = band(columns)
        return tails.ratio(-middle, half)

    def width(columns: Columns) -> float:
        _, half, levels = band(columns)
        return tails.ratio(half, tails.rms(tails.changes(levels), steps) * math.sqrt(steps))

    batch_width = expressions.ratio(2 * deviation, volatility * math.sqrt(steps))
    return [
        Feature(f"bollinger_{steps}", GROUP, steps + 1, expressions.ratio(-mean, 2 * deviation), position),
        Feature(f"bollinger_width_{steps}", GROUP, steps + 1, batch_width, width),
    ]


def atr(steps: int) -> list[Feature]:
    """Average true range, as a log ratio of prices.

    Notes
    -----
    Source: Wilder 1978, New Concepts in Technical Trading Systems, section III; his average is cut.
    """
    weights = smoothing(1 / steps)
    before = pl.col("close").shift(1, fill_value=math.nan)
    # a comparison, not max_horizontal: that one would pass over an unknown close
    top = pl.when(before > pl.col("high")).then(before).otherwise("high")
    bottom = pl.when(before < pl.col("low")).then(before).otherwise("low")

    def newest(columns: Columns) -> float:
        last = columns["close"][-len(weights) - 1 : -1]
        highest = np.maximum(columns["high"][-len(weights) :], last)
        lowest = np.minimum(columns["low"][-len(weights) :], last)
        return tails.weighted(np.log(highest / lowest), weights)

    batch = expressions.weighted((top / bottom).log(), weights.tolist())
    return [Feature(f"atr_{steps}", GROUP, len(weights) + 1, batch, newest)]


def obv(steps: int) -> list[Feature]:
    """On-balance volume of the last steps: the share of the volume that rose less the share that fell, -1 to 1.

    Notes
    -----
    Source: Granville 1963, New Key to Stock Market Profits; the running total begins `steps` rows ago.
    """
    volume = pl.col("volume")
    signed = expressions.changes(pl.col("close")).sign() * volume

    def newest(columns: Columns) -> float:
        traded = columns["volume"][-steps:]
        rose = np.sign(tails.changes(columns["close"][-steps - 1 :]))
        return tails.ratio(float(rose @ traded), tails.total(traded, steps))

    batch = expressions.ratio(expressions.total(signed, steps), expressions.total(volume, steps))
    return [Feature(f"obv_{steps}", GROUP, steps + 1, batch, newest)]


def stochastic(steps: int, smoothed: int) -> list[Feature]:
    """Lane's stochastic: %K, where the close stands in the range of the last steps (0 to 100), and its mean %D.

    Notes
    -----
    Source: Lane 1984, Technical Analysis of Stocks & Commodities 2(3); 50 when the range is nothing.
    """
    lowest, highest = pl.col("low").rolling_min(steps), pl.col("high").rolling_max(steps)
    batch = 100 * expressions.ratio(pl.col("close") - lowest, highest - lowest, flat=0.5)

    def at(columns: Columns, back: int) -> float:
        rows = slice(-steps - back, -back or None)
        low = float(np.minimum.reduce(columns["low"][rows]))
        high = float(np.maximum.reduce(columns["high"][rows]))
        return 100 * tails.ratio(float(columns["close"][-1 - back]) - low, high - low, flat=0.5)

    def slow(columns: Columns) -> float:
        return sum(at(columns, back) for back in range(smoothed)) / smoothed

    averaged = pl.sum_horizontal(batch.shift(back) for back in range(smoothed)) / smoothed
    return [
        Feature(f"stochastic_k_{steps}", GROUP, steps, batch, lambda columns: at(columns, 0)),
        Feature(f"stochastic_d_{steps}_{smoothed}", GROUP, steps + smoothed - 1, averaged, slow),
    ]


def volume(steps: int) -> list[Feature]:
    """Volume beside its mean, as log(1 + ratio), and the close beside the volume-weighted mean price.

    The distance is in units of volatility x sqrt(steps); 0 when nothing was traded.

    Notes
    -----
    Source: Berkowitz, Logue & Noser 1988, Journal of Finance 43(1), doi:10.1111/j.1540-6261.1988.tb02591.x (VWAP).
    """
    traded = pl.col("volume")
    relative = expressions.ratio(traded, expressions.mean(traded, steps)).log1p()
    typical = (pl.col("high") + pl.col("low") + pl.col("close")) / 3
    priced = expressions.ratio(expressions.total(typical * traded, steps), expressions.total(traded, steps))
    change = expressions.changes(expressions.level("close", "candles"))
    away = pl.when(priced > 0).then((pl.col("close") / priced).log()).otherwise(0.0)

    def newest_relative(columns: Columns) -> float:
        return math.log1p(tails.ratio(float(columns["volume"][-1]), tails.mean(columns["volume"], steps)))

    def newest_away(columns: Columns) -> float:
        high, low, close, amount = (columns[name][-steps:] for name in ("high", "low", "close", "volume"))
        price = tails.ratio(tails.total((high + low + close) / 3 * amount, steps), tails.total(amount, steps))
        distance = math.log(float(close[-1]) / price) if price > 0 else 0.0
        moves = tails.changes(tails.level(columns["close"][-steps - 1 :], "candles"))
        return tails.ratio(distance, tails.rms(moves, steps) * math.sqrt(steps))

    batch_away = expressions.ratio(away, expressions.rms(change, steps) * math.sqrt(steps))
    return [
        Feature(f"volume_{steps}", GROUP, steps, relative, newest_relative),
        Feature(f"vwap_{steps}", GROUP, steps + 1, batch_away, newest_away),
    ]


def range_volatility(steps: int) -> list[Feature]:
    """Volatility per step from the ranges of candles, by Parkinson and by Garman and Klass.

    Notes
    -----
    Source: Parkinson 1980, Journal of Business 53(1), doi:10.1086/296071; Garman & Klass 1980, Journal of Business 53(1),
    doi:10.1086/296072.
    """
    reach = (pl.col("high") / pl.col("low")).log().pow(2)
    body = (pl.col("close") / pl.col("open")).log().pow(2)
    of_body = 2 * math.log(2) - 1

    def squares(columns: Columns, above: str, below: str) -> float:
        return tails.rms(np.log(columns[above][-steps:] / columns[below][-steps:]), steps) ** 2

    def parkinson(columns: Columns) -> float:
        return math.sqrt(squares(columns, "high", "low") / (4 * math.log(2)))

    def garman_klass(columns: Columns) -> float:
        variance = squares(columns, "high", "low") / 2 - of_body * squares(columns, "close", "open")
        return math.sqrt(max(variance, 0.0))

    both = expressions.mean(reach, steps) / 2 - of_body * expressions.mean(body, steps)
    return [
        Feature(
            f"parkinson_{steps}", GROUP, steps, (expressions.mean(reach, steps) / (4 * math.log(2))).sqrt(), parkinson
        ),
        Feature(f"garman_klass_{steps}", GROUP, steps, both.clip(lower_bound=0.0).sqrt(), garman_klass),
    ]


def momentum(steps: int, *, kind: Kind) -> list[Feature]:
    """The change over the last steps in units of what a walk of their volatility would make: -sqrt(steps) to sqrt(steps)."""
    column = _value(kind)
    level = expressions.level(column, kind)
    volatility = expressions.rms(expressions.changes(level), steps)

    def newest(columns: Columns) -> float:
        levels = tails.level(columns[column][-steps - 1 :], kind)
        return tails.ratio(float(levels[-1] - levels[0]), tails.rms(tails.changes(levels), steps) * math.sqrt(steps))

    batch = expressions.ratio(level - level.shift(steps), volatility * math.sqrt(steps))
    return [Feature(f"momentum_{steps}", GROUP, steps + 1, batch, newest)]


def _value(kind: Kind) -> str:
    return "close" if kind == "candles" else "y"


OF_VALUES: Mapping[str, Callable[..., list[Feature]]] = {
    "rsi": rsi,
    "macd": macd,
    "bollinger": bollinger,
    "momentum": momentum,
}
OF_CANDLES: Mapping[str, Callable[..., list[Feature]]] = {
    "atr": atr,
    "obv": obv,
    "stochastic": stochastic,
    "volume": volume,
    "range-volatility": range_volatility,
}
