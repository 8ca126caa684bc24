"""An invented market: correlated coins whose volatility comes in waves, by the hour of the day, and in jumps.

Nothing here tells anything about real prices. What it shares with them is what a forecaster of volatility lives on:
today's volatility says something about tomorrow's, all coins are restless together, and nights are quieter.
"""

from __future__ import annotations

import threading
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from springtide.domain.errors import NotFound, SettingsError, did_you_mean
from springtide.domain.units import parse_span

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

__all__ = ["Market"]

Floats: TypeAlias = "NDArray[np.float64]"

BLOCK = 256  # base candles generated at a time
DAY_MS = 86_400_000
HALF_LIVES_H = np.array([5.0, 60.0, 700.0])  # of the waves of volatility
COMMON_WAVES = np.array([0.20, 0.30, 0.30])  # standard deviations in log-volatility, shared by all coins
OWN_WAVES = np.array([0.15, 0.20, 0.20])
COMMON_SHARE = 0.65  # of the variance of a coin's returns
JUMPS_PER_HOUR = 1 / 240
JUMP_SIZE = 4.0  # in volatilities of an hour
FIGURES = {  # a price to begin with, and the volatility of an hour
    "BTC": (40_000.0, 0.0055),
    "ETH": (2_500.0, 0.0070),
    "SOL": (90.0, 0.0105),
    "BNB": (310.0, 0.0065),
    "XRP": (0.6, 0.0085),
}
DOLLARS_PER_HOUR = 2e7


@dataclass(frozen=True, slots=True)
class _State:
    """Where one block ends and the next begins."""

    log_price: Floats  # (coins,)
    close: Floats  # (coins,) the last price, on the tick
    common: Floats  # (waves,) log-volatility
    own: Floats  # (coins, waves)


class Market:
    """Candles of invented coins, the same for the same seed, start and base whatever is asked and in which order.

    Parameters
    ----------
    symbols
        ``BASE/QUOTE``; a coin's own path depends on its name, not on its place in the list.
    seed
        Another seed is another history.
    start
        The market opens at midnight UTC of that day. Another day is another history too: keep it when time goes on.
    base
        The shortest candle; longer ones are put together from it and must be a whole number of them in a day.
    substeps
        Trades inside a base candle, so that high and low are those of a path.
    listed
        Symbols that come to the market later, at midnight UTC of the day given.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        *,
        seed: int,
        start: datetime,
        base: str = "1h",
        substeps: int = 60,
        listed: Mapping[str, datetime] | None = None,
    ) -> None:
        self.symbols = tuple(symbols)
        self.base_s = int(parse_span(base).total_seconds())
        if 86_400 % self.base_s:
            raise SettingsError(
                f"a day is no whole number of {base}", where="the base of a simulated market", do="use 1m, 5m or 1h"
            )
        if odd := [symbol for symbol in self.symbols if symbol.count("/") != 1]:
            raise SettingsError(
                f"{odd[0]!r} names no pair of coins", where="the symbols of a simulated market", do="write BTC/USDT"
            )
        self.seed = seed
        self.start_ms = _midnight(start)
        self.substeps = substeps
        self._listed_ms = {symbol: max(self.start_ms, _midnight(day)) for symbol, day in (listed or {}).items()}
        self._lock = threading.Lock()
        self._blocks: list[Floats] = []  # each (coins, BLOCK, 5): open, high, low, close, volume
        figures = np.array([_figures(symbol) for symbol in self.symbols])
        self._volatility = figures[:, 1] * np.sqrt(self.base_s / 3600)  # (coins,) of a base candle
        self._volume = DOLLARS_PER_HOUR * self.base_s / 3600 / figures[:, 0]  # (coins,)
        self._ticks = 10.0 ** np.ceil(6 - np.log10(figures[:, 0]))  # (coins,) in a price of 1
        self._persistence = 0.5 ** (self.base_s / 3600 / HALF_LIVES_H)  # (waves,)
        self._responses = np.stack([_response(phi) for phi in self._persistence])  # (waves, BLOCK, BLOCK)
        self._states = [self._first_state(figures[:, 0])]  # one more than blocks

    def opened_ms(self, symbol: str) -> int:
        """Open time of the first candle of `symbol`."""
        self._coin(symbol)
        return self._listed_ms.get(symbol, self.start_ms)

    def candles(self, symbol: str, interval_s: int, first_ms: int, last_ms: int) -> Floats:
        """Whole candles that open between `first_ms` and `last_ms`, both included.

        Parameters
        ----------
        symbol
            One of the market's.
        interval_s
            Length of a candle in seconds: a multiple of the base that divides a day.
        first_ms, last_ms
            Milliseconds since 1970. The future is as well known as the past; whoever asks must mind the clock.

        Returns
        -------
        (n, 6) float
            Open time in ms, open, high, low, close, volume in coins; oldest first.
        """
        per, step_ms = self._per(interval_s), interval_s * 1000
        first = max(-(-first_ms // step_ms) * step_ms, self.opened_ms(symbol))
        count = (last_ms - first) // step_ms + 1
        if count <= 0:
            return np.empty((0, 6))
        base = self._base_candles(symbol, (first - self.start_ms) // (self.base_s * 1000), count * per)
        values = _join(base.reshape(count, per, 5))
        times = first + step_ms * np.arange(count, dtype=np.float64)
        return np.column_stack([times, values])

    def so_far(self, symbol: str, interval_s: int, now_ms: int) -> Floats:
        """The candle that is still open at `now_ms`, as far as it has come: (1, 6), or (0, 6) before the market opens."""
        if now_ms < self.opened_ms(symbol):
            return np.empty((0, 6))
        opened = now_ms // (interval_s * 1000) * (interval_s * 1000)
        base_ms = self.base_s * 1000
        closed = (now_ms - opened) // base_ms
        first = (opened - self.start_ms) // base_ms
        done = self._base_candles(symbol, first, closed) if closed else np.empty((0, 5))
        running = self._running(symbol, first + closed, (now_ms % base_ms) / base_ms)
        values = _join(np.concatenate([done, running])[np.newaxis])
        return np.column_stack([[float(opened)], values])

    # --- reading what was generated ----------------------------------------------------------------------------------

    def _coin(self, symbol: str) -> int:
        if symbol not in self.symbols:
            raise NotFound(f"no coin {symbol!r}", where="the simulated market", do=did_you_mean(symbol, self.symbols))
        return self.symbols.index(symbol)

    def _per(self, interval_s: int) -> int:
        """Base candles in one candle of `interval_s`."""
        if interval_s % self.base_s or 86_400 % interval_s:
            raise SettingsError(
                f"no candles of {interval_s} s",
                where=f"a simulated market of {self.base_s} s candles",
                do="ask for a multiple of the base that divides a day",
            )
        return interval_s // self.base_s

    def _base_candles(self, symbol: str, first: int, count: int) -> Floats:
        """Base candles number `first` and on of one coin: (count, 5)."""
        begin, end = first // BLOCK, -(-(first + count) // BLOCK)
        self._grow(end)
        coin = self._coin(symbol)
        joined = np.concatenate([block[coin] for block in self._blocks[begin:end]])
        return joined[first - begin * BLOCK :][:count]

    def _running(self, symbol: str, number: int, share: float) -> Floats:
        """Base candle `number` when `share` of its time has passed: (1, 5)."""
        self._grow(number // BLOCK + 1)
        coin, place = self._coin(symbol), number % BLOCK
        opening = self._blocks[number // BLOCK][coin, place, 0]
        whole_volume = self._blocks[number // BLOCK][coin, place, 4]
        path = self._generate(number // BLOCK)[0][coin, place]
        seen = np.append(opening, path[: int(share * self.substeps)])
        return np.array([[opening, seen.max(), seen.min(), seen[-1], whole_volume * share]])

    # --- generating --------------------------------------------------------------------------------------------------

    def _grow(self, blocks: int) -> None:
        """Generate until there are that many blocks; the lock lets a server's threads ask at once."""
        with self._lock:
            while len(self._blocks) < blocks:
                prices, volume, state = self._generate(len(self._blocks))
                self._blocks.append(self._candles_of(prices, volume, self._states[-1].close))
                self._states.append(state)

    def _first_state(self, prices: Floats) -> _State:
        common = self._random(0, 0).standard_normal(3) * COMMON_WAVES
        own = np.stack([self._random(_key(s), 0).standard_normal(3) for s in self.symbols]) * OWN_WAVES
        return _State(np.log(prices), prices, common, own)

    def _random(self, key: int, block: int) -> np.random.Generator:
        """The stream of one coin (0: the whole market) in one block: no order of asking can change it."""
        return np.random.default_rng((self.seed, key, block))

    def _generate(self, block: int) -> tuple[Floats, Floats, _State]:
        """Prices (coins, BLOCK, substeps) and volumes (coins, BLOCK) of a block, and where it ends."""
        state = self._states[block]
        everyone = self._random(0, block + 1)
        coins = [self._random(_key(symbol), block + 1) for symbol in self.symbols]
        common = self._waves(state.common, COMMON_WAVES, everyone)  # (waves, BLOCK)
        own = np.stack([self._waves(s, OWN_WAVES, r) for s, r in zip(state.own, coins, strict=True)])
        wave = common.sum(0) + own.sum(1) + self._hours(block, 0.30)  # (coins, BLOCK) log-volatility about its mean
        volatility = self._volatility[:, np.newaxis] * np.exp(wave)  # (coins, BLOCK)
        shared = everyone.standard_normal((BLOCK, self.substeps))
        shared_jumps = self._jumps(everyone)
        moves = np.empty((len(coins), BLOCK, self.substeps))
        for coin, random in enumerate(coins):
            mixed = random.standard_normal((BLOCK, self.substeps))
            mixed *= np.sqrt((1 - COMMON_SHARE) / self.substeps)
            mixed += np.sqrt(COMMON_SHARE / self.substeps) * shared
            jumps = np.sqrt(3600 / self.base_s) * (shared_jumps + self._jumps(random))
            moves[coin] = volatility[coin, :, np.newaxis] * (mixed + jumps)
        path = state.log_price[:, np.newaxis] + moves.reshape(len(coins), -1).cumsum(1)
        noise = np.stack([random.standard_normal(BLOCK) for random in coins])
        volume = self._volume[:, np.newaxis] * np.exp(0.9 * wave + self._hours(block, 0.35) + 0.3 * noise)
        prices = self._on_tick(np.exp(path))
        end = _State(path[:, -1], prices[:, -1], common[:, -1], own[:, :, -1])
        return prices.reshape(moves.shape), volume, end

    def _waves(self, last: Floats, sizes: Floats, random: np.random.Generator) -> Floats:
        """AR(1) processes that go on from `last`: (waves, BLOCK)."""
        shocks = random.standard_normal((3, BLOCK)) * (sizes * np.sqrt(1 - self._persistence**2))[:, np.newaxis]
        fading = self._persistence[:, np.newaxis] ** np.arange(1, BLOCK + 1) * last[:, np.newaxis]
        waves: Floats = np.einsum("wij,wj->wi", self._responses, shocks) + fading
        return waves

    def _jumps(self, random: np.random.Generator) -> Floats:
        """Rare moves at one trade of a candle, in volatilities of an hour: (BLOCK, substeps)."""
        happens = random.random(BLOCK) < JUMPS_PER_HOUR * self.base_s / 3600
        sizes = random.standard_normal(BLOCK) * JUMP_SIZE * happens
        moves = np.zeros((BLOCK, self.substeps))
        moves[np.arange(BLOCK), random.integers(self.substeps, size=BLOCK)] = sizes
        return moves

    def _hours(self, block: int, size: float) -> Floats:
        """The day's pattern: most is going on at 15 UTC, least at 3, less at weekends: (BLOCK,)."""
        seconds = self.start_ms // 1000 + self.base_s * (block * BLOCK + np.arange(BLOCK))
        hour, day = seconds / 3600 % 24, (seconds // 86_400 + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
        return size * np.cos(2 * np.pi * (hour - 15) / 24) - 0.5 * size * (day >= 5)

    def _on_tick(self, prices: Floats) -> Floats:
        ticks = self._ticks[:, np.newaxis]
        rounded: Floats = np.maximum(np.round(prices * ticks), 1) / ticks
        return rounded

    def _candles_of(self, prices: Floats, volume: Floats, last: Floats) -> Floats:
        """(coins, BLOCK, substeps) of prices to (coins, BLOCK, 5); each candle opens where the one before closed."""
        close = prices[:, :, -1]
        opening = np.concatenate([last[:, np.newaxis], close[:, :-1]], axis=1)
        high, low = np.maximum(prices.max(2), opening), np.minimum(prices.min(2), opening)
        return np.stack([opening, high, low, close, np.round(volume, 5)], axis=2)


def _join(parts: Floats) -> Floats:
    """(n, parts, 5) of candles to (n, 5): one longer candle each."""
    return np.column_stack(
        [parts[:, 0, 0], parts[:, :, 1].max(1), parts[:, :, 2].min(1), parts[:, -1, 3], parts[:, :, 4].sum(1)]
    )


def _response(persistence: float) -> Floats:
    """How an AR(1) process answers to the shocks of one block: lower triangular (BLOCK, BLOCK)."""
    lag = np.subtract.outer(np.arange(BLOCK), np.arange(BLOCK))
    return np.where(lag >= 0, persistence ** np.maximum(lag, 0), 0.0)


def _figures(symbol: str) -> tuple[float, float]:
    """A price to begin with and the volatility of an hour; an unknown coin gets its own, always the same."""
    coin = symbol.split("/", maxsplit=1)[0]
    return FIGURES.get(coin, (0.1 * 10 ** (_key(coin) % 300 / 100), 0.008 + _key(coin) % 40 / 10_000))


def _key(text: str) -> int:
    return zlib.crc32(text.encode())


def _midnight(moment: datetime) -> int:
    return int(moment.timestamp() * 1000) // DAY_MS * DAY_MS
