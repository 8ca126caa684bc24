"""The invented market: always the same for the same seed, and alive in the ways a forecaster needs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from springtide.domain.errors import NotFound, SettingsError
from springtide.sources.simulator.clock import AcceleratedClock
from springtide.sources.simulator.market import Market

START = datetime(2024, 1, 1, tzinfo=UTC)
SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
HOUR_MS = 3_600_000


def a_market(**changes: object) -> Market:
    return Market(**{"symbols": SYMBOLS, "seed": 1, "start": START, **changes})  # type: ignore[arg-type] # any of them


def hours(market: Market, symbol: str, count: int, *, first: int = 0) -> np.ndarray:
    begin = market.start_ms + first * HOUR_MS
    return market.candles(symbol, 3600, begin, begin + (count - 1) * HOUR_MS)


@pytest.fixture(scope="module")
def year() -> dict[str, np.ndarray]:
    market = a_market()
    return {symbol: hours(market, symbol, 8760) for symbol in SYMBOLS}


@settings(max_examples=25, deadline=None)
@given(first=st.integers(0, 900), count=st.integers(1, 600))
def test_a_candle_is_the_same_whatever_range_it_is_asked_in(first: int, count: int) -> None:
    whole = hours(a_market(), "ETH/USDT", 1500)
    part = hours(a_market(), "ETH/USDT", count, first=first)
    np.testing.assert_array_equal(part, whole[first : first + count])


def test_another_seed_is_another_history() -> None:
    one, other = (hours(a_market(seed=seed), "BTC/USDT", 100) for seed in (1, 2))
    assert not np.array_equal(one, other)


def test_a_coin_does_not_depend_on_its_place_in_the_list() -> None:
    one = hours(a_market(), "SOL/USDT", 600)
    other = hours(a_market(symbols=("SOL/USDT", "XRP/USDT")), "SOL/USDT", 600)
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("interval_s", "base"), [(86_400, "1h"), (14_400, "1h"), (900, "1m"), (300, "5m")])
def test_a_long_candle_is_exactly_its_short_ones(interval_s: int, base: str) -> None:
    market = a_market(base=base, substeps=10)
    days = 3
    end = market.start_ms + days * 86_400_000 - 1
    short = market.candles("BTC/USDT", market.base_s, market.start_ms, end)
    long = market.candles("BTC/USDT", interval_s, market.start_ms, end)
    per = interval_s // market.base_s
    assert len(long) * per == len(short)
    for number, candle in enumerate(long):
        parts = short[number * per : (number + 1) * per]
        opening, close = parts[0, 1], parts[-1, 4]
        assert candle.tolist() == [
            parts[0, 0],
            opening,
            parts[:, 2].max(),
            parts[:, 3].min(),
            close,
            parts[:, 5].sum(),
        ]


def test_prices_are_positive_and_lie_between_low_and_high(year: dict[str, np.ndarray]) -> None:
    for candles in year.values():
        opening, high, low, close, volume = candles[:, 1:].T
        assert (low > 0).all()
        assert (low <= np.minimum(opening, close)).all()
        assert (high >= np.maximum(opening, close)).all()
        assert (volume > 0).all()
        np.testing.assert_array_equal(opening[1:], close[:-1])


def test_high_and_low_are_wider_than_open_and_close(year: dict[str, np.ndarray]) -> None:
    """For a random walk the mean range is about twice the mean absolute return."""
    candles = year["BTC/USDT"]
    spread = np.log(candles[:, 2] / candles[:, 3]).mean() / np.abs(np.log(candles[:, 4] / candles[:, 1])).mean()
    assert 1.6 < spread < 2.4


def returns(candles: np.ndarray) -> np.ndarray:
    return np.diff(np.log(candles[:, 4]))


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one, other)[0, 1])


def test_coins_move_together(year: dict[str, np.ndarray]) -> None:
    assert correlation(returns(year["BTC/USDT"]), returns(year["ETH/USDT"])) > 0.4


def test_volatility_comes_in_waves_but_returns_do_not(year: dict[str, np.ndarray]) -> None:
    noise = 1 / np.sqrt(8759)
    for candles in year.values():
        moves = returns(candles)
        sizes = np.minimum(np.abs(moves), np.quantile(np.abs(moves), 0.99))  # a jump alone decides nothing
        assert correlation(sizes[1:], sizes[:-1]) > 10 * noise
        assert correlation(sizes[48:], sizes[:-48]) > 5 * noise
        assert abs(correlation(moves[1:], moves[:-1])) < 5 * noise


def test_coins_are_restless_together(year: dict[str, np.ndarray]) -> None:
    days = {s: np.abs(returns(c))[: 364 * 24].reshape(-1, 24).mean(1) for s, c in year.items()}
    assert correlation(np.log(days["BTC/USDT"]), np.log(days["SOL/USDT"])) > 0.4


def test_afternoons_are_busier_than_nights(year: dict[str, np.ndarray]) -> None:
    by_hour = np.log(year["BTC/USDT"][:, 5]).reshape(-1, 24).mean(0)
    sizes = np.log(year["BTC/USDT"][:, 2] / year["BTC/USDT"][:, 3]).reshape(-1, 24).mean(0)
    assert by_hour[13:18].mean() > by_hour[1:6].mean() + 0.5
    assert sizes[13:18].mean() > 1.3 * sizes[1:6].mean()


def test_some_hours_jump(year: dict[str, np.ndarray]) -> None:
    moves = returns(year["BTC/USDT"])
    assert np.mean(moves**4) / np.mean(moves**2) ** 2 > 5


def test_the_open_candle_grows_into_the_closed_one() -> None:
    market = a_market()
    opened = market.start_ms + 30 * HOUR_MS
    whole = market.candles("BTC/USDT", 3600, opened, opened)[0]
    parts = [market.so_far("BTC/USDT", 3600, opened + minute * 60_000)[0] for minute in (0, 20, 40, 59)]
    for part in parts:
        assert part[:2].tolist() == whole[:2].tolist()
        assert whole[3] <= part[3] <= part[4] <= part[2] <= whole[2]
    assert [p[5] for p in parts] == sorted(p[5] for p in parts)
    assert parts[0][5] == 0
    assert parts[1][4] != parts[2][4]


def test_an_open_day_holds_the_hours_that_closed() -> None:
    market = a_market()
    now = market.start_ms + 30 * HOUR_MS + HOUR_MS // 2
    day = market.so_far("BTC/USDT", 86_400, now)[0]
    closed = hours(market, "BTC/USDT", 6, first=24)
    assert day[0] == closed[0, 0]
    assert day[2] >= closed[:, 2].max()
    assert day[5] > closed[:, 5].sum()


def test_a_coin_has_no_candles_before_it_is_listed() -> None:
    listed = START + timedelta(days=10)
    market = a_market(listed={"SOL/USDT": listed})
    found = hours(market, "SOL/USDT", 300)
    assert found[0, 0] == listed.timestamp() * 1000
    assert len(found) == 60
    assert market.so_far("SOL/USDT", 3600, market.start_ms).shape == (0, 6)


def test_an_unknown_coin_and_an_odd_length_are_refused() -> None:
    with pytest.raises(NotFound, match="did you mean 'BTC/USDT'"):
        hours(a_market(), "BTC/USDTT", 1)
    with pytest.raises(SettingsError, match="no candles of 60 s"):
        a_market().candles("BTC/USDT", 60, 0, 0)
    with pytest.raises(SettingsError, match="no whole number of 7m"):
        a_market(base="7m")
    with pytest.raises(SettingsError, match="'BTCUSDT' names no pair"):
        a_market(symbols=("BTCUSDT",))


def test_an_accelerated_clock_runs_faster_than_the_clock_it_reads() -> None:
    times = [START]
    sped_up = AcceleratedClock(START, speed=60, clock=lambda: times[0])
    times[0] = START + timedelta(seconds=2)
    assert sped_up() == START + timedelta(minutes=2)
