"""How often the gate promotes a challenger that is no better, and how soon one that is.

Synthetic random walks, so that the truth is known:

    python benchmarks/false_promotions.py [--walks 200]

Hourly returns with volatility that comes in clusters (GARCH with Student's t); forecasts, a day ahead, every hour, are
past quantiles in units of the volatility now. What tells two forecasts apart is their error of that volatility, drawn
anew for every rival: equal errors make rivals that are equal in law, a smaller error makes a better one. Lopsided rivals
have no error but a bias: the challenger's intervals are too narrow, so that it is often a little better and seldom much
worse, the champion's are too wide, by as much as makes the mean losses equal. No network is trained; the losses go
straight to the gate, with the overlap of 23 that they really have.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq
from scipy.signal import lfilter

from springtide.evaluation.gate import Rule, decide
from springtide.evaluation.losses import Losses
from springtide.evaluation.scores import pinball

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

HOUR_S, DAY = 3600, 24
HORIZON = DAY
JUDGED = 90 * DAY  # prediction times of one look
LEVELS = np.array([0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95])
CONSTANT, REACTION, MEMORY, FREEDOM = 1e-7, 0.05, 0.93, 5  # of the GARCH process and its Student's t
COMMON = 0.6  # share of the variance that the series of one market have in common
DECAY = 0.96  # of the volatility that forecasters see
PERSISTENCE = 0.98  # of the errors, from hour to hour
BURN_IN = 500
RULES = ("better", "significant", "anytime")


@dataclass(frozen=True, slots=True)
class Forecaster:
    """How well one knows the volatility: standard deviation of the logarithm of its error, and a lasting bias of it."""

    error: float
    bias: float = 0.0


USUAL = Forecaster(0.15)
WORSE = {"1 %": Forecaster(0.22), "2 %": Forecaster(0.285), "5 %": Forecaster(0.41)}  # beaten by about so much
NARROW = Forecaster(0.0, bias=-0.2)


@dataclass(frozen=True, slots=True)
class Market:
    """One walk of some series: what is known at each prediction time, and what came of it.

    `volatility` and `outcomes` are (times, series); `table` (levels,) are quantiles in units of the volatility.
    """

    volatility: Floats
    outcomes: Floats
    table: Floats

    def losses(self, who: Forecaster, first: int, stop: int, rng: np.random.Generator) -> Losses:
        """A forecaster with errors of its own, on the prediction times from `first` until `stop`."""
        volatility, outcomes = self.volatility[first:stop], self.outcomes[first:stop]
        believed = np.exp(who.bias + who.error * _persistent(rng, len(volatility)))[:, None] * volatility
        values = pinball(outcomes.reshape(-1, 1), (believed.reshape(-1, 1) * self.table)[:, None, :], LEVELS)
        times, series = np.indices(volatility.shape)
        return Losses(
            "pinball loss",
            values,
            (first + times.ravel()) * HOUR_S,
            series.ravel().astype(np.str_),
            overlap=HORIZON - 1,
            step=HOUR_S,
        )


def draw_markets(rng: np.random.Generator, *, walks: int, times: int, series: int = 1) -> list[Market]:
    """`walks` independent markets of `series` that move together."""
    hours = BURN_IN + times + HORIZON
    shocks = rng.standard_t(FREEDOM, size=(hours, walks, series)) * np.sqrt((FREEDOM - 2) / FREEDOM)
    if series > 1:
        shocks = np.sqrt(COMMON) * shocks[:, :, :1] + np.sqrt(1 - COMMON) * shocks
    changes = np.empty_like(shocks)
    variance = np.full((walks, series), CONSTANT / (1 - REACTION - MEMORY))
    for hour, shock in enumerate(shocks):
        changes[hour] = np.sqrt(variance) * shock
        variance = CONSTANT + REACTION * changes[hour] ** 2 + MEMORY * variance
    volatility = np.sqrt(lfilter([1 - DECAY], [1, -DECAY], changes**2, axis=0))
    level = np.cumsum(changes, axis=0)
    known = slice(BURN_IN, BURN_IN + times)
    volatility, outcomes = volatility[known], (level[HORIZON:] - level[:-HORIZON])[known]
    table = np.quantile(outcomes / volatility, LEVELS)
    return [Market(volatility[:, walk], outcomes[:, walk], table) for walk in range(walks)]


@dataclass(frozen=True, slots=True)
class Life:
    """A new challenger every so many hours, so many times, against a champion that stays until one is promoted."""

    champion: Forecaster
    challenger: Forecaster
    looks: int
    every: int

    def promoted_at(self, market: Market, rule: str, rng: np.random.Generator) -> int | None:
        """The number of the look at which a challenger is promoted; None for never."""
        asked = Rule(rule, alpha=0.05)  # type: ignore[arg-type] # one of RULES
        champion = market.losses(self.champion, 0, JUDGED + (self.looks - 1) * self.every, rng)
        evidence: Mapping[str, Any] | None = None
        for look in range(self.looks):
            first = look * self.every
            challenger = market.losses(self.challenger, first, first + JUDGED, rng)
            rival = _part(champion, first, first + JUDGED)
            verdict = decide(challenger, champion=("m@1", rival), baselines={}, rule=asked, evidence=evidence)
            if verdict.promote:
                return look + 1
            evidence = verdict.evidence
        return None

    def shares(
        self, markets: list[Market], rule: str, rng: np.random.Generator, *, within: Sequence[int]
    ) -> list[float]:
        """The share of the markets that have had a promotion within so many looks."""
        found = [self.promoted_at(market, rule, rng) for market in markets]
        return [float(np.mean([number is not None and number <= looks for number in found])) for looks in within]


def mean_loss(markets: list[Market], who: Forecaster, rng: np.random.Generator) -> float:
    """Over all markets and times."""
    return float(np.mean([market.losses(who, 0, len(market.outcomes), rng).mean for market in markets]))


def too_wide(markets: list[Market], narrow: Forecaster, rng: np.random.Generator) -> Forecaster:
    """The forecaster with too wide intervals whose mean loss is that of one with too narrow ones."""
    wanted = mean_loss(markets, narrow, rng)
    bias = brentq(lambda bias: mean_loss(markets, Forecaster(0.0, bias), rng) - wanted, 0.01, 1.0, xtol=1e-4)
    return Forecaster(0.0, bias)


def _part(losses: Losses, first: int, stop: int) -> Losses:
    inside = (losses.times >= first * HOUR_S) & (losses.times < stop * HOUR_S)
    return Losses(
        losses.name,
        losses.values[inside],
        losses.times[inside],
        losses.groups[inside],
        losses.overlap,
        step=losses.step,
    )


def _persistent(rng: np.random.Generator, count: int) -> Floats:
    """(count,) standard normal values, each near the one before."""
    fresh = np.sqrt(1 - PERSISTENCE**2)
    before = PERSISTENCE * rng.standard_normal(1)
    values: Floats = lfilter([fresh], [1, -PERSISTENCE], rng.standard_normal(count), zi=before)[0]
    return values


def _false_promotions(walks: int, rng: np.random.Generator) -> Iterator[str]:
    for case, series, count in (("equal", 1, walks), ("equal", 33, max(1, walks // 5)), ("lopsided", 1, walks)):
        markets = draw_markets(rng, walks=count, times=JUDGED + 50 * DAY, series=series)
        life = Life(USUAL, USUAL, looks=50, every=DAY)
        if case == "lopsided":
            life = Life(too_wide(markets, NARROW, rng), NARROW, looks=50, every=DAY)
        for rule in RULES:
            shares = life.shares(markets, rule, rng, within=(1, 10, 50))
            yield f"{case:<9} {rule:<12} {series:>6} {count:>6} {_columns(shares)}"


def _power(walks: int, rng: np.random.Generator) -> Iterator[str]:
    markets = draw_markets(rng, walks=walks, times=JUDGED + 52 * 7 * DAY)
    usual = mean_loss(markets, USUAL, rng)
    for name, champion in WORSE.items():
        gain = 1 - usual / mean_loss(markets, champion, rng)
        once = Life(champion, USUAL, looks=1, every=DAY)
        looked = [once.shares(markets, rule, rng, within=[1])[0] for rule in RULES]
        year = Life(champion, USUAL, looks=52, every=7 * DAY).shares(markets, "anytime", rng, within=(13, 26, 52))
        yield f"{name:<6} {gain:>9.2%} {_columns([*looked, *year])}"


def _columns(shares: Sequence[float]) -> str:
    return "".join(f"{share:>12.1%}" for share in shares)


def main() -> None:
    """Run and print two tables."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--walks", type=int, default=200)
    asked.add_argument("--seed", type=int, default=1)
    options = asked.parse_args()
    rng = np.random.default_rng(options.seed)
    print("promoted although no better, at alpha = 0.05, looked at every day")
    print(f"{'case':<9} {'rule':<12} {'series':>6} {'walks':>6} {'1 look':>12}{'10 looks':>12}{'50 looks':>12}")
    for line in _false_promotions(options.walks, rng):
        print(line, flush=True)
    print(
        f"\npromoted when really better, 1 series, {options.walks} walks, at 1 look; anytime also within weekly looks"
    )
    print(
        f"{'about':<6} {'measured':>9} {''.join(f'{one:>12}' for one in (*RULES, '13 weeks', '26 weeks', '52 weeks'))}"
    )
    for line in _power(options.walks, rng):
        print(line, flush=True)


if __name__ == "__main__":
    main()
