"""How often drift is called where nothing has changed, and how soon where something has.

    SPRINGTIDE_DATA=... python benchmarks/drift.py [--coins 33] [--walks 100]

Inputs, on hourly candles: a champion has seen all but the last 15 months of a coin, three months lie between (its judging span),
and for a year one looks every five days at the newest week or month. *real*: the candles as they are; what is called may be true.
*mixed*: the same candles in blocks of 30 days in random order, in which nothing changes but which keep their clusters of
volatility; half way through the year something may be planted: all changes 2 or 4 times as large, or candles whose high
and low no longer leave open and close.

Losses, looked at every week, a forecast every hour a day ahead: *equal*: two forecasters of synthetic walks that differ by
chance only (as in false_promotions.py); *narrow*: the champion's intervals become too narrow. *log-har*: that baseline as
champion beside ewma-volatility on real coins, over two years; *blind*: it forgets the volatility and goes on as last-value.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from false_promotions import DAY, HOUR_S, USUAL, Forecaster, draw_markets
from springtide.evaluation.drift import detect_worsening, find_shifts
from springtide.evaluation.losses import Losses
from springtide.settings.words import Drift
from springtide.tasks.forecast.circumstances import circumstances_of
from springtide.tasks.forecast.items import split
from springtide.tasks.forecast.recipe import ForecastRecipe
from springtide.tasks.forecast.task import ForecastTask

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from springtide.tasks.seam import Circumstances

    Floats = NDArray[np.float64]

ROWS = "candles/binance_spot_1h_33coins_2017-08_2022-10.parquet"
VALUES = ["open", "high", "low", "close", "volume"]
SHORTEST = 3 * 365 * DAY  # hours of a coin that is looked at
YEAR, GAP, BLOCK = 365 * DAY, 90 * DAY, 30 * DAY
LOOK = 5 * DAY
CHANGE = YEAR // 2  # hour of the year at which something is planted
JUDGE = 90 * DAY
SETTINGS = Drift()
THRESHOLD = (365 + 90) / SETTINGS.loss_alpha
PLANTED: Mapping[str, tuple[float, bool]] = {
    "mixed": (1.0, False),
    "mixed, changes x 2": (2.0, False),
    "mixed, changes x 4": (4.0, False),
    "mixed, flat candles": (1.0, True),
}


@dataclass(frozen=True, slots=True)
class Watched:
    """The looks at which something was called drifted, (looks,) bool."""

    alarms: NDArray[np.bool_]

    @property
    def episodes(self) -> int:
        """Runs of looks."""
        return int(np.sum(self.alarms & ~np.concatenate([[False], self.alarms[:-1]])))

    def delay(self, change: int) -> int | None:
        """Looks from the change to the first alarm."""
        found = np.flatnonzero(self.alarms[change:])
        return int(found[0]) if len(found) else None


def read(most: int) -> list[Floats]:
    """(hours, 5) candles of each coin with enough of them, gaps closed."""
    frame = pl.read_parquet(Path(os.environ["SPRINGTIDE_DATA"]) / ROWS).sort("symbol", "timestamp")
    coins = [part.select(VALUES).to_numpy().astype(np.float64) for part in frame.partition_by("symbol")]
    return [coin for coin in coins if len(coin) >= SHORTEST][:most]


def mix(candles: Floats, rng: np.random.Generator, *, wilder: float, flat: bool) -> Floats:
    """Blocks of 30 days in random order, joined at the last close, with a change planted in the last year."""
    close = np.concatenate([candles[:1, 0], candles[:-1, 3]])
    relative = np.log(candles[:, :4] / close[:, None])  # to the close before
    count = len(candles) // BLOCK
    order = (rng.permutation(count)[:, None] * BLOCK + np.arange(BLOCK)).ravel()
    relative, volume = relative[order], candles[order, 4]
    late = np.arange(len(order)) >= len(order) - YEAR + CHANGE
    relative = relative * np.where(late, wilder, 1.0)[:, None]
    if flat:
        body = relative[:, [0, 3]]
        relative[late, 1], relative[late, 2] = body[late].max(axis=1) + 1e-6, body[late].min(axis=1)
    before = np.concatenate([[0.0], np.cumsum(relative[:-1, 3])])
    return np.column_stack([100 * np.exp(before[:, None] + relative), volume])


def look_often(candles: Floats, span: timedelta) -> Watched:
    """A year of looks at one coin."""
    facts, every = _facts(candles)
    recent = int(span.total_seconds()) // HOUR_S // every
    alarms = []
    for hour in range(0, YEAR, LOOK):
        stop = (GAP + hour) // every
        newest = {name: values[stop - recent : stop] for name, values in facts.recent.items()}
        found = find_shifts(facts.reference, newest, psi=SETTINGS.psi, alpha=SETTINGS.alpha)
        alarms.append(any(one.drifted for one in found))
    return Watched(np.array(alarms))


def _facts(candles: Floats) -> tuple[Circumstances, int]:
    """Facts of what was seen, and of all that came after it; and how many hours they are apart."""
    begin = datetime(2000, 1, 1, tzinfo=UTC)
    times = pl.datetime_range(begin, begin + timedelta(hours=len(candles) - 1), "1h", time_zone="UTC", eager=True)
    rows = pl.DataFrame({"unique_id": "coin", "ds": times, **dict(zip(VALUES, candles.T, strict=True))})
    seen = times[len(candles) - YEAR - GAP]
    windows = split(rows.lazy(), ForecastRecipe(), judged_from=seen)
    facts = circumstances_of(windows, seen_until=seen, recent_from=seen)
    return facts, round((YEAR + GAP) / len(facts.recent["volatility of coin"]))


def watch_weekly(champion: Losses, baseline: Losses) -> Watched:
    """Weekly looks, each from the last whole year before its judging span on."""
    first = int(champion.times.min()) // HOUR_S
    alarms = []
    for now in range(first + JUDGE, int(champion.times.max()) // HOUR_S, 7 * DAY):
        start = max(first, (now - JUDGE) // YEAR * YEAR)
        parts = (_part(one, start, now) for one in (champion, baseline))
        alarms.append(detect_worsening(*parts, threshold=THRESHOLD).drifted)
    return Watched(np.array(alarms))


def _part(losses: Losses, first: int, stop: int) -> Losses:
    inside = (losses.times >= first * HOUR_S) & (losses.times < stop * HOUR_S)
    times, groups = losses.times[inside], losses.groups[inside]
    return Losses(losses.name, losses.values[inside], times, groups, losses.overlap, step=losses.step)


def _joined(before: Losses, after: Losses, hour: int) -> Losses:
    """One forecaster until an hour, another from it on."""
    late = before.times >= before.times.min() + hour * HOUR_S
    values = np.where(late, after.values, before.values)
    return Losses(before.name, values, before.times, before.groups, before.overlap, step=before.step)


def _inputs(coins: list[Floats], rng: np.random.Generator) -> Iterator[str]:
    for days in (7, 30):
        span = timedelta(days=days)
        real = [look_often(coin, span) for coin in coins]
        yield f"{'real':<22}{days:>5} {_often(real, years=len(coins))}"
        for name, (wilder, flat) in PLANTED.items():
            found = [look_often(mix(coin, rng, wilder=wilder, flat=flat), span) for coin in coins]
            calm = [Watched(one.alarms[: CHANGE // LOOK]) for one in found] if name != "mixed" else found
            yield f"{name:<22}{days:>5} {_often(calm, years=sum(len(one.alarms) for one in calm) * LOOK / YEAR)} " + (
                "" if name == "mixed" else _soon([_days(one.delay(CHANGE // LOOK), LOOK) for one in found])
            )


def _often(found: list[Watched], *, years: float) -> str:
    episodes = sum(one.episodes for one in found) / years
    share = np.mean(np.concatenate([one.alarms for one in found]))
    return f"{episodes:>14.2f}{share:>10.1%}"


def _soon(delays: list[int | None]) -> str:
    found = [one for one in delays if one is not None]
    middle = f"{np.median(found):.0f}" if found else "-"
    return f"{len(found) / len(delays):>8.0%}{middle:>12}"


def _days(looks: int | None, every: int) -> int | None:
    return None if looks is None else looks * every // DAY


def _losses(coins: list[Floats], walks: int, rng: np.random.Generator) -> Iterator[str]:
    hours = 2 * YEAR
    markets = draw_markets(rng, walks=walks, times=hours)
    pairs = [[market.losses(USUAL, 0, hours, rng) for _ in range(2)] for market in markets]
    yield f"{'equal':<22}{_ever([watch_weekly(*pair) for pair in pairs], years=2)}"
    for bias in (-0.4, -0.8):
        worse = [market.losses(Forecaster(USUAL.error, bias), 0, hours, rng) for market in markets]
        rise = np.mean([one.mean for one in worse]) / np.mean([pair[0].mean for pair in pairs]) - 1
        found = [watch_weekly(_joined(pair[0], one, YEAR), pair[1]) for pair, one in zip(pairs, worse, strict=True)]
        yield f"{f'narrow, loss {rise:+.1%}':<22}{_found(found)}"
    scored = [_score(coin) for coin in coins]
    yield f"{'log-har':<22}{_ever([watch_weekly(one['log-har'], one['ewma-volatility']) for one in scored], years=2)}"
    blind = [watch_weekly(_joined(one["log-har"], one["last-value"], YEAR), one["ewma-volatility"]) for one in scored]
    rise = np.mean([one["last-value"].mean / one["log-har"].mean for one in scored]) - 1
    yield f"{f'blind, loss {rise:+.1%}':<22}{_found(blind)}"


def _score(candles: Floats) -> dict[str, Losses]:
    """Baselines of one coin on its last two years, fitted on what lies before."""
    begin = datetime(2000, 1, 1, tzinfo=UTC)
    times = pl.datetime_range(begin, begin + timedelta(hours=len(candles) - 1), "1h", time_zone="UTC", eager=True)
    rows = pl.DataFrame({"unique_id": "coin", "ds": times, **dict(zip(VALUES, candles.T, strict=True))})
    task = ForecastTask()
    windows = task.prepare(rows.lazy(), ForecastRecipe(), judged_from=times[len(candles) - 2 * YEAR])
    wanted = ("last-value", "ewma-volatility", "log-har")
    return {name: task.losses(one, windows) for name, one in task.baselines(windows).items() if name in wanted}


def _ever(found: list[Watched], *, years: int) -> str:
    return f"{sum(one.episodes for one in found) / len(found) / years:>14.3f}"


def _found(found: list[Watched]) -> str:
    """The first look is a judging span after the beginning."""
    change = (YEAR - JUDGE) // (7 * DAY)
    delays = [one.delay(change) for one in found]
    return f"{'':>14}{_soon([_days(one, 7 * DAY) for one in delays])}"


def main() -> None:
    """Run and print two tables."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--coins", type=int, default=33)
    asked.add_argument("--walks", type=int, default=100)
    asked.add_argument("--seed", type=int, default=1)
    options = asked.parse_args()
    rng = np.random.default_rng(options.seed)
    coins = read(options.coins)
    print(f"inputs of {len(coins)} coins, looked at every five days for a year")
    print(f"{'':<22}{'days':>5}{'alarms a year':>15}{'of looks':>10}{'found':>9}{'median days':>12}")
    for line in _inputs(coins, rng):
        print(line.rstrip(), flush=True)
    print(f"\nlosses, looked at every week for two years; {options.walks} walks, {len(coins)} coins")
    print(f"{'':<22}{'alarms a year':>14}{'found':>8}{'median days':>12}")
    for line in _losses(coins, options.walks, rng):
        print(line, flush=True)


if __name__ == "__main__":
    main()
