"""Every feature beside a slow loop that is written from its definition, a row at a time, over rows seen so far."""

from __future__ import annotations

import calendar
import math
from datetime import UTC, datetime
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.tasks.forecast.features.world import DRIVER, HOUR_S, World, worlds

from springtide.tasks.forecast.features.feature import batch_features
from springtide.tasks.forecast.features.joining import join_driver, join_outside, outside_columns, outside_span_s
from springtide.tasks.forecast.features.spec import OutsideSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

Row = dict[str, float]
DAY_S = 24 * HOUR_S


# --- what indicators are made of


def quotient(above: float, below: float, flat: float = 0.0) -> float:
    return flat if below == 0 else above / below


def rms(values: Sequence[float]) -> float:
    return math.sqrt(fmean(value * value for value in values))


def changes(values: Sequence[float], steps: int) -> list[float]:
    """The last `steps` changes."""
    return [values[-back] - values[-back - 1] for back in range(steps, 0, -1)]


def smoothed(values: Sequence[float], alpha: float) -> float:
    """An exponential average that forgets what weighs less than 1e-4."""
    total = weight_sum = 0.0
    weight, back = 1.0, 1
    while weight > 1e-4:
        total += weight * values[-back]
        weight_sum += weight
        weight *= 1 - alpha
        back += 1
    return total / weight_sum


def moved(values: Sequence[float], steps: int, unit_steps: int) -> float:
    unit = rms(changes(values, unit_steps)) * math.sqrt(steps)
    return quotient(values[-1] - values[-1 - steps], unit)


# --- one function a family: rows seen so far -> feature by name


def of_values(values: list[float], levels: list[float]) -> Row:
    """Indicators of one value a row; `levels` are logs of prices, or the values themselves."""
    ups = [max(b - a, 0.0) for a, b in pairwise(values)]
    downs = [max(a - b, 0.0) for a, b in pairwise(values)]
    up, down = smoothed(ups, 1 / 3), smoothed(downs, 1 / 3)
    lines = []  # the MACD at this row and as many before it as its average reaches back
    for back in range(10):
        until = levels[: len(levels) - back]
        lines.insert(0, smoothed(until, 2 / 4) - smoothed(until, 2 / 7))
    unit = rms(changes(levels, 6))
    last = levels[-5:]
    deviation = math.sqrt(fmean((level - fmean(last)) ** 2 for level in last))
    still = len(set(last)) == 1
    return {
        "rsi_3": 100 * quotient(up, up + down, flat=0.5),
        "macd_3_6_2": quotient(lines[-1], unit),
        "macd_histogram_3_6_2": quotient(lines[-1] - smoothed(lines, 2 / 3), unit),
        "bollinger_5": 0.0 if still else (levels[-1] - fmean(last)) / (2 * deviation),
        "bollinger_width_5": 0.0 if still else 2 * deviation / (rms(changes(levels, 5)) * math.sqrt(5)),
        "momentum_4": moved(levels, 4, 4),
        "momentum_9": moved(levels, 9, 9),
    }


def of_candles(rows: list[Row]) -> Row:
    close = [row["close"] for row in rows]
    true_ranges = [
        math.log(max(row["high"], before) / min(row["low"], before))
        for before, row in zip(close, rows[1:], strict=False)
    ]
    pairs = list(zip(rows[-7:], rows[-6:], strict=False))
    rose = sum(new["volume"] for old, new in pairs if new["close"] > old["close"])
    fell = sum(new["volume"] for old, new in pairs if new["close"] < old["close"])
    traded = sum(row["volume"] for row in rows[-6:])
    vwap = quotient(sum((r["high"] + r["low"] + r["close"]) / 3 * r["volume"] for r in rows[-6:]), traded)
    away = math.log(close[-1] / vwap) if traded else 0.0
    walk = rms(changes([math.log(price) for price in close[-7:]], 6)) * math.sqrt(6)
    spreads = [math.log(row["high"] / row["low"]) ** 2 for row in rows[-7:]]
    bodies = [math.log(row["close"] / row["open"]) ** 2 for row in rows[-7:]]

    def k(back: int) -> float:
        until = rows[: len(rows) - back]
        low, high = min(row["low"] for row in until[-5:]), max(row["high"] for row in until[-5:])
        return 100 * quotient(until[-1]["close"] - low, high - low, flat=0.5)

    return {
        "atr_3": smoothed(true_ranges, 1 / 3),
        "obv_6": quotient(rose - fell, traded),
        "stochastic_k_5": k(0),
        "stochastic_d_5_3": fmean([k(0), k(1), k(2)]),
        "volume_6": math.log(1 + quotient(rows[-1]["volume"], traded / 6)),
        "vwap_6": quotient(away, walk),
        "parkinson_7": math.sqrt(fmean(spreads) / (4 * math.log(2))),
        "garman_klass_7": math.sqrt(max(0.0, fmean(spreads) / 2 - (2 * math.log(2) - 1) * fmean(bodies))),
    }


def of_bars(rows: list[Row], hours: int, name: str) -> Row:
    """Group candles into bars as a clock would: a bar is closed when its last hour is among the rows."""
    bars: dict[int, list[Row]] = {}
    for row in rows:
        bars.setdefault(int(row["ds"]) // (hours * HOUR_S), []).append(row)
    listed = list(bars.values())
    open_bar = [] if len(listed[-1]) == hours else listed.pop()
    closed = [
        {
            "high": max(row["high"] for row in bar),
            "low": min(row["low"] for row in bar),
            "close": bar[-1]["close"],
        }
        for bar in listed[-7:]
    ]
    ranges = [math.log(bar["high"] / bar["low"]) for bar in closed]
    returns = [math.log(new["close"] / old["close"]) for old, new in pairwise(closed)]
    unit = math.log(max(bar["high"] for bar in closed[-6:]) / min(bar["low"] for bar in closed[-6:]))
    distance = math.log(rows[-1]["close"] / open_bar[0]["open"]) if open_bar else 0.0
    so_far = math.log(max(row["high"] for row in open_bar) / min(row["low"] for row in open_bar)) if open_bar else 0.0
    return {
        f"return_1_{name}": quotient(returns[-1], unit),
        f"return_6_{name}": quotient(sum(returns[-6:]), unit),
        f"range_1_{name}": quotient(ranges[-1], unit),
        f"volatility_6_{name}": rms(returns[-6:]),
        f"distance_from_open_{name}": quotient(distance, unit),
        f"range_so_far_{name}": quotient(so_far, unit),
        f"elapsed_{name}": len(open_bar) / hours,
    }


def of_driver(own: list[float], theirs: list[float], *, long: bool) -> Row:
    volatility = math.nan
    if long:
        volatility = quotient(rms(changes(theirs, 24)), rms(changes(theirs, 168)))
    return {
        f"return_1_of_{DRIVER}": moved(theirs, 1, 24),
        f"return_6_of_{DRIVER}": moved(theirs, 6, 24),
        f"return_24_of_{DRIVER}": moved(theirs, 24, 24),
        f"volatility_24_of_{DRIVER}": volatility,
        f"strength_24_of_{DRIVER}": moved(own, 24, 24) - moved(theirs, 24, 24),
    }


def of_calendar(second: int) -> Row:
    moment = datetime.fromtimestamp(second, tz=UTC)
    length = calendar.monthrange(moment.year, moment.month)[1]
    shares = {
        "hour": moment.hour / 24,
        "weekday": moment.weekday() / 7,
        "monthday": (moment.day - 1) / length,
        "week": (int(moment.strftime("%V")) - 1) / 52,
        "month": (moment.month - 1) / 12,
    }
    waves = {f"{name}_sin": math.sin(math.tau * share) for name, share in shares.items()}
    waves |= {f"{name}_cos": math.cos(math.tau * share) for name, share in shares.items()}
    return waves | {"turn_of_month": float(moment.day in (1, 2, 3, length))}


def of_row(world: World, rows: list[Row]) -> Row:
    """Every feature of the last of `rows`."""
    target = "close" if world.kind == "candles" else "y"
    values = [row[target] for row in rows]
    level = math.log if world.kind == "candles" else float
    levels = [level(value) for value in values]
    found = of_values(values, levels) | of_calendar(int(rows[-1]["ds"]))
    if world.kind == "candles":
        found |= of_candles(rows) | of_bars(rows, 2, "2h")
        found |= of_bars(rows, 24, "1d") if len(rows) >= 168 else {}
    theirs = [level(row[f"value of {DRIVER}"]) for row in rows]
    if rows[-1][f"seen of {DRIVER}"]:
        found |= of_driver(levels, theirs, long=len(rows) > 168)
    return found | {name: value for name, value in rows[-1].items() if name.startswith("funding.")}


@settings(max_examples=12, deadline=None)
@given(worlds, st.integers(45, 100))
def test_every_feature_is_what_a_slow_loop_says_of_each_row(world: World, first: int) -> None:
    batch = batch_features(world.features, world.frame)
    rows = world.frame.to_dicts()
    names = [feature.name for feature in world.features]
    for row in (*range(first, world.frame.height, 23), world.frame.height - 1):
        expected = of_row(world, rows[: row + 1])
        assert expected.keys() <= set(names)
        slow = [expected.get(name, math.nan) for name in names]
        np.testing.assert_allclose(batch[row], slow, rtol=1e-8, atol=1e-9, err_msg=f"row {row}: {names}")


# --- joining


def known(rows: dict[str, Any], now: int, spec: OutsideSpec) -> list[float]:
    """Value, change, means and age, by looking at every row."""
    delay, max_age = spec.delay.total_seconds(), spec.max_age.total_seconds()
    pairs = [
        (time, value)
        for time, value in zip(rows["ds"].tolist(), rows["rate"].tolist(), strict=True)
        if time + delay <= now and math.isfinite(value)
    ]
    if not pairs or now - (pairs[-1][0] + delay) > max_age:
        return [math.nan] * 5
    time, value = pairs[-1]
    change = value - pairs[-2][1] if len(pairs) > 1 and time - pairs[-2][0] <= max_age else math.nan
    day, week = (fmean(v for t, v in pairs if t > time - span) for span in (DAY_S, 7 * DAY_S))
    return [value, change, day, week, (now - time - delay) / HOUR_S]


spans = st.sampled_from(["30m", "1h", "4h", "1d", "9d"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 12 * DAY_S // 600), max_size=60, unique=True),
    st.sampled_from(["0s", "30m", "2h", "3d"]),
    spans,
    st.integers(0, 1000),
)
def test_an_outside_row_is_joined_from_the_moment_at_which_it_was_known(
    tens: list[int], delay: str, max_age: str, seed: int
) -> None:
    spec = OutsideSpec.model_validate({"table": "f", "columns": ["rate"], "delay": delay, "max_age": max_age})
    rng = np.random.default_rng(seed)
    rates = np.where(rng.random(len(tens)) < 0.1, rng.choice([np.nan, np.inf], len(tens)), rng.normal(size=len(tens)))
    rows = {"ds": 600 * np.array(sorted(tens), dtype=np.int64), "rate": rates}
    seconds = HOUR_S * np.arange(0, 13 * 24)
    joined = join_outside(seconds, rows, "f", spec, step_s=HOUR_S)
    assert list(joined) == list(outside_columns("f", "rate"))
    found = np.column_stack(list(joined.values()))
    slow = np.array([known(rows, int(second) + HOUR_S, spec) for second in seconds])
    np.testing.assert_allclose(found, slow, rtol=1e-9, atol=1e-12)

    cutoff = seconds[-1 - seed % 100 : len(seconds) - seed % 100]  # what a server reads and says, of one cutoff
    read = rows["ds"] >= cutoff[0] - outside_span_s(spec, step_s=HOUR_S)
    served = join_outside(cutoff, {name: values[read] for name, values in rows.items()}, "f", spec, step_s=HOUR_S)
    np.testing.assert_array_equal(np.column_stack(list(served.values()))[0], found[len(seconds) - 1 - seed % 100])


@pytest.mark.parametrize("first", [0, 3, 50])
def test_a_driver_is_joined_where_its_times_are_the_same(first: int) -> None:
    own = HOUR_S * np.arange(10, 60)
    theirs = HOUR_S * np.arange(first, first + 30)
    values, filled = np.arange(30.0) + 1, np.arange(30) % 7 == 3
    joined = join_driver(own, "X", driver_seconds=theirs, values=values, filled=filled)
    by_time = {time: (value, not gap) for time, value, gap in zip(theirs.tolist(), values, filled, strict=True)}
    slow = [by_time.get(time, (math.nan, False)) for time in own.tolist()]
    np.testing.assert_array_equal(joined["value of X"], [value for value, _ in slow])
    np.testing.assert_array_equal(joined["seen of X"], [seen for _, seen in slow])
