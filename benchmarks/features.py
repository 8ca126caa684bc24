"""The features of a new candle, beside working out all of them anew in pandas: ``python benchmarks/features.py``.

Two years of hourly candles, every feature that the settings know. What is timed of the newest candle is all that a server
does for it: drivers and outside rows are joined, then each feature is taken from the last rows. The pandas column works
out the same features over the whole history, as a program does that computes its indicators again for each candle; it is
written with rolling, resample, merge_asof and numpy's convolution. All three ways must say the same at every row.

Needs pandas, which the project does not: ``pip install pandas``. Real candles where the data sets are beside the
project, synthetic ones otherwise.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl

from springtide.domain.rows import CANDLE_VALUES
from springtide.tasks.forecast.features.build import build_features
from springtide.tasks.forecast.features.feature import batch_features, newest_features, reach_of
from springtide.tasks.forecast.features.indicators import smoothing
from springtide.tasks.forecast.features.joining import join_driver, join_outside
from springtide.tasks.forecast.features.spec import STANDARD_LENGTHS, FeatureSpec
from springtide.tasks.forecast.features.timeframes import BARS
from springtide.tasks.forecast.grid import on_grid

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("SPRINGTIDE_DATA", ROOT.parent / "shared" / "data"))
REAL = DATA / "candles" / "binance_spot_1h_33coins_2017-08_2022-10.parquet"
STEP_S, ROWS = 3600, 2 * 8760
SERIES, DRIVERS = "SOL/USDT", ("ETH/USDT", "BTC/USDT")
CANDLES = 1000  # newest rows, one after the other
SPEC = FeatureSpec.model_validate(
    {
        "indicators": list(STANDARD_LENGTHS),
        "timeframes": ["4h", "1d"],
        "drivers": DRIVERS,
        "calendar": True,
        "outside": {"funding": {"table": "funding", "columns": ["rate"], "delay": "0s", "max_age": "2d"}},
    }
)
Arrays = dict[str, np.ndarray]


def candles(name: str) -> Arrays:
    """Two years of one pair on its grid."""
    if REAL.exists():
        rows = pl.read_parquet(REAL).filter(symbol=name).sort("timestamp").tail(ROWS)
        seconds = rows["timestamp"].dt.epoch("s").to_numpy()
        values = rows.select(CANDLE_VALUES).to_numpy()
    else:
        rng = np.random.default_rng(len(name) + ord(name[0]))
        close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, ROWS)))
        opened = np.concatenate([close[:1], close[:-1]])
        reach = 1 + 0.003 * rng.random((2, ROWS))
        high, low = np.maximum(opened, close) * reach[0], np.minimum(opened, close) / reach[1]
        seconds = 1_640_995_200 + STEP_S * np.arange(ROWS)
        values = np.column_stack([opened, high, low, close, rng.lognormal(3, 1, ROWS)])
    seconds, values, filled = on_grid(seconds, values, step_s=STEP_S)
    return {"ds": seconds, "filled": filled} | dict(zip(CANDLE_VALUES, values.T.copy(), strict=True))


def joined(own: Arrays, drivers: dict[str, Arrays], funding: Arrays, seconds: np.ndarray) -> Arrays:
    columns = {name: own[name] for name in ("ds", *CANDLE_VALUES)}
    for name, driver in drivers.items():
        columns |= join_driver(
            seconds, name, driver_seconds=driver["ds"], values=driver["close"], filled=driver["filled"]
        )
    return columns | join_outside(seconds, funding, "funding", SPEC.outside["funding"], step_s=STEP_S)


def tail(columns: Arrays, first: int, last: int) -> Arrays:
    return {name: values[first : last + 1] for name, values in columns.items()}


# --- the same features in pandas


def ratio(above: Any, below: Any, flat: float = 0.0) -> Any:
    return (above / below).where(below > 0, flat).where(below.notna())


def rms(values: pd.Series, steps: int) -> pd.Series:
    return np.sqrt((values**2).rolling(steps).mean().clip(lower=0))


def averaged(values: pd.Series, alpha: float) -> pd.Series:
    """An exponential average, cut where ours is."""
    weights = smoothing(alpha)
    return pd.Series(np.convolve(values.to_numpy(), weights[::-1])[: len(values)], values.index)


def indicators_in_pandas(df: pd.DataFrame) -> dict[str, pd.Series]:
    close, level, traded = df["close"], np.log(df["close"]), df["volume"]
    change, moves = close.diff().fillna(0), level.diff()
    up, down = averaged(change.clip(lower=0), 1 / 14), averaged((-change).clip(lower=0), 1 / 14)
    from_start = level - level.iloc[0]
    line = averaged(from_start, 2 / 13) - averaged(from_start, 2 / 27)
    unit = rms(moves, 26)
    deviation = 2 * level.rolling(20).std(ddof=0)
    before = close.shift().fillna(df["open"])
    true_range = np.log(np.maximum(df["high"], before) / np.minimum(df["low"], before))
    low, high = df["low"].rolling(14).min(), df["high"].rolling(14).max()
    k = 100 * ratio(close - low, high - low, 0.5)
    typical = (df["high"] + df["low"] + close) / 3
    vwap = (typical * traded).rolling(20).sum() / traded.rolling(20).sum()
    spread = (np.log(df["high"] / df["low"]) ** 2).rolling(24).mean()
    body = (np.log(close / df["open"]) ** 2).rolling(24).mean()
    return {
        "rsi_14": 100 * ratio(up, up + down, 0.5),
        "macd_12_26_9": ratio(line, unit),
        "macd_histogram_12_26_9": ratio(line - averaged(line, 2 / 10), unit),
        "bollinger_20": ratio(level - level.rolling(20).mean(), deviation),
        "bollinger_width_20": ratio(deviation, rms(moves, 20) * np.sqrt(20)),
        "atr_14": averaged(true_range, 1 / 14),
        "obv_20": ratio((np.sign(change) * traded).rolling(20).sum(), traded.rolling(20).sum()),
        "stochastic_k_14": k,
        "stochastic_d_14_3": k.rolling(3).mean(),
        "volume_20": np.log1p(ratio(traded, traded.rolling(20).mean())),
        "vwap_20": ratio(np.log(close / vwap), rms(moves, 20) * np.sqrt(20)),
        "parkinson_24": np.sqrt(spread / (4 * np.log(2))),
        "garman_klass_24": np.sqrt((spread / 2 - (2 * np.log(2) - 1) * body).clip(lower=0)),
        **{f"momentum_{n}": ratio(level.diff(n), rms(moves, n) * np.sqrt(n)) for n in (6, 24, 72)},
    }


def timeframe_in_pandas(df: pd.DataFrame, name: str) -> dict[str, pd.Series]:
    span, step = pd.Timedelta(name), pd.Timedelta(seconds=STEP_S)
    size = span // step
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "size"}
    bars = df.resample(name).agg(how)
    bars = bars[bars["volume"] == size]
    returns, spread = np.log(bars["close"]).diff(), np.log(bars["high"] / bars["low"])
    unit = np.log(bars["high"].rolling(6).max() / bars["low"].rolling(6).min())
    closed = pd.DataFrame(
        {
            "return_1": ratio(returns, unit),
            "return_6": ratio(returns.rolling(6).sum(), unit),
            "range_1": ratio(spread, unit),
            "volatility_6": rms(returns, 6),
            "unit": unit,
        }
    ).set_index(bars.index + span)
    ends = pd.DataFrame(index=df.index + step)
    closed = pd.merge_asof(ends, closed, left_index=True, right_index=True).set_index(df.index)
    group = df.groupby(df.index.floor(name))
    elapsed = (ends.index - ends.index.floor(name)) / span
    building = elapsed > 0
    so_far = np.log(group["high"].cummax() / group["low"].cummin())
    distance = np.log(df["close"] / group["open"].transform("first"))
    return {f"{fact}_{name}": closed[fact] for fact in ("return_1", "return_6", "range_1", "volatility_6")} | {
        f"distance_from_open_{name}": ratio(distance.where(building, 0.0), closed["unit"]),
        f"range_so_far_{name}": ratio(so_far.where(building, 0.0), closed["unit"]),
        f"elapsed_{name}": pd.Series(elapsed, df.index),
    }


def driver_in_pandas(df: pd.DataFrame, driver: pd.DataFrame, name: str) -> dict[str, pd.Series]:
    theirs, own = np.log(driver["close"]).reindex(df.index), np.log(df["close"])
    seen = (~driver["filled"]).reindex(df.index, fill_value=False)
    unit = rms(theirs.diff(), 24)
    found = {f"return_{n}": ratio(theirs.diff(n), unit * np.sqrt(n)) for n in (1, 6, 24)}
    found["volatility_24"] = ratio(unit, rms(theirs.diff(), 168))
    found["strength_24"] = ratio(own.diff(24), rms(own.diff(), 24) * np.sqrt(24)) - found["return_24"]
    return {f"{fact}_of_{name}": values.where(seen) for fact, values in found.items()}


def calendar_in_pandas(index: pd.DatetimeIndex) -> dict[str, pd.Series]:
    shares = {
        "hour": (index - index.floor("1D")) / pd.Timedelta("1D"),
        "weekday": index.weekday / 7,
        "monthday": (index.day - 1) / index.days_in_month,
        "week": (index.isocalendar().week.to_numpy().astype(int) - 1) / 52,
        "month": (index.month - 1) / 12,
    }
    turn = (index.day <= 3) | (index.day == index.days_in_month)
    waves = {}
    for name, share in shares.items():
        angle = 2 * np.pi * np.asarray(share)
        waves |= {f"{name}_sin": pd.Series(np.sin(angle), index), f"{name}_cos": pd.Series(np.cos(angle), index)}
    return waves | {"turn_of_month": pd.Series(turn.astype(float), index)}


def outside_in_pandas(index: pd.DatetimeIndex, funding: pd.DataFrame) -> dict[str, pd.Series]:
    rate = funding["rate"]
    known = pd.DataFrame(
        {
            "funding.rate": rate,
            "funding.rate.change": rate.diff(),
            "funding.rate.mean_1d": rate.rolling("1D").mean(),
            "funding.rate.mean_7d": rate.rolling("7D").mean(),
            "at": funding.index,
        }
    )
    step = pd.Timedelta(seconds=STEP_S)
    ends = pd.DataFrame(index=index + step)
    found = pd.merge_asof(ends, known, left_index=True, right_index=True, tolerance=pd.Timedelta("2D"))
    found["funding.rate.age"] = (found.index - found["at"]) / step
    return {name: column.set_axis(index) for name, column in found.drop(columns="at").items()}


def in_pandas(own: pd.DataFrame, drivers: dict[str, pd.DataFrame], funding: pd.DataFrame) -> pd.DataFrame:
    columns = indicators_in_pandas(own)
    for name in ("4h", "1d"):
        columns |= timeframe_in_pandas(own, name)
    for name, driver in drivers.items():
        columns |= driver_in_pandas(own, driver, name)
    return pd.DataFrame(columns | calendar_in_pandas(own.index) | outside_in_pandas(own.index, funding))


def as_pandas(columns: Arrays) -> pd.DataFrame:
    index = pd.to_datetime(columns["ds"], unit="s")
    return pd.DataFrame({name: values for name, values in columns.items() if name != "ds"}, index=index)


# --- measuring


def seconds_of(work: Callable[[], object], times: int) -> np.ndarray:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return np.array(took)


def check_equal(batch: np.ndarray, other: np.ndarray, names: list[str], *, rtol: float, what: str) -> None:
    known = ~np.isnan(batch).any(axis=1)
    known[: BARS * 24 + 48] = False  # pandas does not know a bar that had begun before the first row
    apart = np.abs(batch - other)[known] / (np.abs(batch)[known] + 1e-3)
    worst = int(np.argmax(apart.max(axis=0)))
    if not np.all(apart < rtol):
        sys.exit(f"{what}: {names[worst]} differs by {apart[:, worst].max():.1e}")
    print(f"{what:46s} equal at {known.sum()} rows, {np.max(apart):.0e} apart at most ({names[worst]})")


def main() -> None:
    own, drivers = candles(SERIES), {name: candles(name) for name in DRIVERS}
    times = np.arange(own["ds"][0] // 28_800 * 28_800, own["ds"][-1], 28_800)
    funding = {"ds": times, "rate": np.random.default_rng(0).normal(1e-4, 1e-4, len(times))}
    features = build_features(SPEC, step_s=STEP_S, kind="candles")
    names, reach = [feature.name for feature in features], reach_of(features)
    where = "real candles" if REAL.exists() else "synthetic candles"
    print(
        f"{len(features)} features, {len(own['ds'])} rows, {where}; they look at {reach} rows; Python {sys.version.split()[0]}"
    )

    everything = joined(own, drivers, funding, own["ds"])
    frame = pl.DataFrame(everything)
    batch = batch_features(features, frame)
    newest: list[np.ndarray] = []
    took = []
    for row in range(len(own["ds"]) - CANDLES, len(own["ds"])):
        rows = tail(own, row - reach + 1, row)
        near = {name: tail(driver, row - reach + 1, row) for name, driver in drivers.items()}
        seen = funding["ds"] >= own["ds"][row] - 9 * 86_400
        rates = {name: values[seen] for name, values in funding.items()}
        began = time.perf_counter()
        newest.append(newest_features(features, joined(rows, near, rates, rows["ds"])))
        took.append(time.perf_counter() - began)
    in_frames = (as_pandas(own), {name: as_pandas(driver) for name, driver in drivers.items()}, as_pandas(funding))
    served = np.full_like(batch, np.nan)
    served[-CANDLES:] = newest
    check_equal(np.where(np.isnan(served), np.nan, batch), served, names, rtol=1e-9, what="newest row and Polars")
    slow = in_pandas(*in_frames)[names].to_numpy()
    check_equal(batch, slow, names, rtol=1e-6, what="pandas and Polars")

    one = np.array(took) * 1e3
    whole = seconds_of(lambda: batch_features(features, frame), 5) * 1e3
    anew = seconds_of(lambda: in_pandas(*in_frames), 5) * 1e3
    print(
        f"{'newest candle: join and features':46s} p50 {np.median(one):8.3f} ms   p99 {np.quantile(one, 0.99):.3f} ms"
    )
    print(f"{'whole history in Polars':46s} p50 {np.median(whole):8.1f} ms")
    print(f"{'whole history in pandas':46s} p50 {np.median(anew):8.1f} ms")
    print(f"{'pandas / newest candle':46s}     {np.median(anew) / np.median(one):8.0f} times")


if __name__ == "__main__":
    main()
