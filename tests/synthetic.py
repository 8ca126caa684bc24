"""Small invented series: walks whose volatility follows the hour of the day, which a network can learn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from springtide.domain.rows import CANDLE_VALUES
from springtide.tasks.forecast.items import split
from springtide.tasks.forecast.recipe import ForecastRecipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from springtide.tasks.forecast.items import Windows
    from springtide.tasks.seam import Advance

START = datetime(2024, 1, 1, tzinfo=UTC)
START_S = int(START.timestamp())
HOUR = timedelta(hours=1)
DAYS = 30  # of every series
JUDGED_FROM = START + timedelta(days=22)
PAIRS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")


def walk(hours: int, *, seed: int) -> np.ndarray:
    """(hours,) a random walk that moves nine times as much at noon as at midnight."""
    pattern = np.exp(1.1 * -np.cos(2 * np.pi * np.arange(hours) / 24))
    return np.cumsum(0.01 * pattern * np.random.default_rng(seed).standard_normal(hours))


def times(hours: int) -> list[datetime]:
    return [START + HOUR * hour for hour in range(hours)]


def candles(hours: int = 24 * DAYS, *, series: Sequence[str] = PAIRS[:2], seed: int = 1) -> pl.DataFrame:
    """Hourly candles without a gap."""
    return pl.concat([_candles(name, hours, seed=seed + place) for place, name in enumerate(series)])


def _candles(name: str, hours: int, *, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(1000 + seed)
    close = 100 * seed * np.exp(walk(hours, seed=seed))
    opened = np.concatenate([close[:1], close[:-1]])
    reach = 1 + 0.002 * rng.random((2, hours))
    high, low = np.maximum(opened, close) * reach[0], np.minimum(opened, close) / reach[1]
    values = dict(zip(CANDLE_VALUES, (opened, high, low, close, rng.lognormal(3, 1, hours)), strict=True))
    return pl.DataFrame({"unique_id": [name] * hours, "ds": times(hours), **values})


def frozen(rows: pl.DataFrame, hours: range) -> pl.DataFrame:
    """Candles whose prices stand still for some hours, and go on from there."""
    first, last = START + HOUR * hours[0], START + HOUR * hours[-1]
    held = pl.col("close").filter(pl.col("ds") < first).last().over("unique_id")
    before = pl.col("close").filter(pl.col("ds") <= last).last().over("unique_id")
    prices = [pl.col(name) for name in CANDLE_VALUES[:4]]
    return rows.with_columns(
        pl.when(pl.col("ds") < first).then(price).when(pl.col("ds") <= last).then(held).otherwise(price * held / before)
        for price in prices
    )


def plain(hours: int = 24 * DAYS, *, series: Sequence[str] = ("a", "b"), seed: int = 1) -> pl.DataFrame:
    """Hourly values that may be negative, without a gap."""
    return pl.concat(
        [
            pl.DataFrame({"unique_id": [name] * hours, "ds": times(hours), "y": 30 * walk(hours, seed=seed + place)})
            for place, name in enumerate(series)
        ]
    )


def seasonal(hours: int = 24 * DAYS, *, series: Sequence[str] = ("a", "b"), seed: int = 1) -> pl.DataFrame:
    """Hourly values with a daily pattern that turns upside down every other day, and some noise."""
    hour = np.arange(hours)
    pattern = np.sin(2 * np.pi * hour / 24) * (1 - 2 * (hour // 24 % 2))
    return pl.concat(
        [
            pl.DataFrame({"unique_id": [name] * hours, "ds": times(hours), "y": pattern * (place + 1) + noise})
            for place, name in enumerate(series)
            for noise in [0.2 * np.random.default_rng(seed + place).standard_normal(hours)]
        ]
    )


def without(rows: pl.DataFrame, series: str, hours: Sequence[int]) -> pl.DataFrame:
    """`rows` with a gap."""
    missing = [START + HOUR * hour for hour in hours]
    return rows.filter(~((pl.col("unique_id") == series) & pl.col("ds").is_in(missing)))


def recipe(**changes: Any) -> ForecastRecipe:
    """A recipe that fits into `DAYS` days."""
    return ForecastRecipe.model_validate({"window": 24, "horizon": 4, "validation": "4d", "batch": 64} | changes)


def windows(rows: pl.DataFrame, *, judged_from: datetime = JUDGED_FROM, **changes: Any) -> Windows:
    """The items of a run over `rows`."""
    return split(rows.lazy(), recipe(**changes), judged_from=judged_from)


def silent(advance: Advance) -> None:
    """Progress that nobody watches."""
