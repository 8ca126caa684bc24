"""Invented series with gaps and flat stretches, and every feature that there is, with lengths short enough for a slow loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
from hypothesis import strategies as st

from springtide.domain.rows import CANDLE_VALUES
from springtide.tasks.forecast.features.build import build_features
from springtide.tasks.forecast.features.joining import join_driver, join_outside
from springtide.tasks.forecast.features.spec import FeatureSpec
from springtide.tasks.forecast.grid import on_grid

if TYPE_CHECKING:
    from springtide.tasks.forecast.features.feature import Feature

HOUR_S = 3600
START_S = 1_709_193_600  # 2024-02-29 08:00, a Thursday before the turn of a month
ROWS = 200
DRIVER = "ETH/USDT"
FUNDING = {"table": "funding", "columns": ["rate"], "delay": "90m", "max_age": "1d"}
VALUES = ["rsi:3", "macd:3:6:2", "bollinger:5", "momentum:4", "momentum:9"]
CANDLES = [*VALUES, "atr:3", "obv:6", "stochastic:5:3", "volume:6", "range-volatility:7"]


def spec(kind: str = "candles", **changes: Any) -> FeatureSpec:
    """Every feature of the kind."""
    everything = {
        "indicators": CANDLES if kind == "candles" else VALUES,
        "timeframes": ["2h", "1d"] if kind == "candles" else [],
        "drivers": [DRIVER],
        "calendar": True,
        "outside": {"funding": FUNDING},
    }
    return FeatureSpec.model_validate(everything | changes)


@dataclass(frozen=True)
class World:
    """One series on its grid with all that is joined to it, and its features."""

    kind: Literal["candles", "plain"]
    frame: pl.DataFrame
    features: tuple[Feature, ...]
    funding: dict[str, np.ndarray]

    def columns(self, first: int = 0, last: int | None = None) -> dict[str, np.ndarray]:
        """Rows `first` to `last`, both included, as the newest-row form takes them."""
        stop = None if last is None else last + 1
        return {name: column.to_numpy()[first:stop] for name, column in self.frame.to_dict().items()}


def make_world(
    kind: Literal["candles", "plain"] = "candles",
    *,
    seed: int = 0,
    missing: frozenset[int] = frozenset(),
    driver_missing: frozenset[int] = frozenset(),
    flat: tuple[int, int] = (0, 0),
) -> World:
    """A world of about `ROWS` hours; steps in `missing` are gaps, and nothing moves between the steps of `flat`."""
    rng = np.random.default_rng(seed)
    chosen = spec(kind)
    seconds, values, _ = _series(rng, kind, missing, flat)
    names = CANDLE_VALUES if kind == "candles" else ("y",)
    target = 3 if kind == "candles" else 0
    driver_seconds, driver_values, filled = _series(rng, kind, driver_missing, (0, 0))
    times = START_S - 40 * HOUR_S + np.cumsum(rng.choice([HOUR_S // 2, 4 * HOUR_S, 30 * HOUR_S], 60, p=[0.2, 0.7, 0.1]))
    rates = np.where(rng.random(60) < 0.1, np.nan, rng.normal(0, 1e-4, 60))
    funding = {"ds": times, "rate": rates}
    columns = {
        "ds": seconds,
        **{name: values[:, place] for place, name in enumerate(names)},
        **join_driver(
            seconds, DRIVER, driver_seconds=driver_seconds[3:], values=driver_values[3:, target], filled=filled[3:]
        ),
        **join_outside(seconds, funding, "funding", chosen.outside["funding"], step_s=HOUR_S),
    }
    return World(kind, pl.DataFrame(columns), build_features(chosen, step_s=HOUR_S, kind=kind), funding)


def _series(
    rng: np.random.Generator, kind: str, missing: frozenset[int], flat: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    moves = rng.normal(0, 0.01, ROWS)
    moves[slice(*flat)] = 0.0
    walk = np.cumsum(moves)
    if kind == "plain":
        values = 30 * walk[:, None]
    else:
        close = 60_000 * np.exp(walk)
        opened = np.concatenate([close[:1], close[:-1]])
        reach = 1 + 0.003 * rng.random((2, ROWS)) * (moves != 0)
        volume = np.where(rng.random(ROWS) < 0.1, 0.0, rng.lognormal(3, 1, ROWS))
        values = np.column_stack(
            [opened, np.maximum(opened, close) * reach[0], np.minimum(opened, close) / reach[1], close, volume]
        )
    there = np.setdiff1d(np.arange(ROWS), sorted(missing))
    return on_grid(START_S + HOUR_S * there, values[there], step_s=HOUR_S)


steps = st.frozensets(st.integers(1, ROWS - 1), max_size=30)
kinds = st.sampled_from(["candles", "plain"])
flats = st.tuples(st.integers(0, ROWS), st.integers(0, 40)).map(lambda drawn: (drawn[0], drawn[0] + drawn[1]))
worlds = st.builds(make_world, kinds, seed=st.integers(0, 10_000), missing=steps, driver_missing=steps, flat=flats)
