"""The simulated exchange over HTTP: Binance's replies and errors, and every fault on request."""

from __future__ import annotations

from datetime import UTC, datetime

import ccxt
import httpx
import numpy as np
import pytest

from springtide.sources.simulator.market import Market
from springtide.sources.simulator.misbehaviour import Faults, Misbehaviour
from springtide.sources.simulator.server import SimulatedExchange, simulated_exchange

START = datetime(2024, 1, 1, tzinfo=UTC)
NOW = datetime(2024, 1, 20, 10, 20, tzinfo=UTC)
START_MS = int(START.timestamp() * 1000)
HOUR_MS = 3_600_000
BTC = {"symbol": "BTCUSDT", "interval": "1h"}


@pytest.fixture(scope="module")
def market() -> Market:
    return Market(("BTC/USDT", "ETH/USDT"), seed=3, start=START)


@pytest.fixture(scope="module")
def exchange(market: Market):
    with simulated_exchange(market, clock=lambda: NOW) as running:
        yield running


def get(exchange: SimulatedExchange, **query: object) -> httpx.Response:
    return httpx.get(f"{exchange.url}/api/v3/klines", params=query)


def opens(reply: httpx.Response) -> list[int]:
    return [row[0] for row in reply.json()]


def test_ccxt_loads_the_markets_and_fetches_candles_unchanged(exchange: SimulatedExchange, market: Market) -> None:
    binance = ccxt.binance({"options": {"fetchMarkets": {"types": ["spot"]}}, "enableRateLimit": False})
    binance.has["fetchCurrencies"] = False
    binance.urls["api"]["public"] = f"{exchange.url}/api/v3"
    assert set(binance.load_markets()) == {"BTC/USDT", "ETH/USDT"}
    assert binance.fetch_time() == NOW.timestamp() * 1000
    found = binance.fetch_ohlcv("ETH/USDT", "1h", since=START_MS, limit=5)
    np.testing.assert_allclose(found, market.candles("ETH/USDT", 3600, START_MS, START_MS + 4 * HOUR_MS), rtol=1e-12)
    binance.session.close()


def test_the_newest_candle_is_still_open(exchange: SimulatedExchange) -> None:
    newest = get(exchange, **BTC, limit=1).json()[0]
    assert newest[0] == datetime(2024, 1, 20, 10, tzinfo=UTC).timestamp() * 1000
    assert newest[6] > NOW.timestamp() * 1000


def test_without_a_start_the_newest_candles_come(exchange: SimulatedExchange) -> None:
    assert len(opens(get(exchange, **BTC))) == 19 * 24 + 11
    assert opens(get(exchange, **BTC, limit=3))[-1] == opens(get(exchange, **BTC))[-1]


def test_a_start_before_the_listing_brings_the_first_candles(exchange: SimulatedExchange) -> None:
    assert opens(get(exchange, **BTC, startTime=0, limit=2)) == [START_MS, START_MS + HOUR_MS]


def test_a_start_in_the_future_brings_nothing(exchange: SimulatedExchange) -> None:
    assert get(exchange, **BTC, startTime=int(NOW.timestamp() * 1000) + HOUR_MS).json() == []


def test_the_end_is_included(exchange: SimulatedExchange) -> None:
    found = get(exchange, **BTC, startTime=START_MS, endTime=START_MS + 2 * HOUR_MS)
    assert opens(found) == [START_MS, START_MS + HOUR_MS, START_MS + 2 * HOUR_MS]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"symbol": "NOPEUSDT", "interval": "1h"}, -1121),
        ({"symbol": "BTCUSDT", "interval": "2h"}, -1120),
        ({"symbol": "BTCUSDT", "interval": "1m"}, -1120),
        ({"symbol": "BTCUSDT"}, -1102),
        ({**BTC, "startTime": "yesterday"}, -1100),
    ],
)
def test_errors_have_binances_shape(exchange: SimulatedExchange, query: dict[str, str], code: int) -> None:
    reply = get(exchange, **query)
    assert reply.status_code == 400
    assert reply.json()["code"] == code


def test_the_used_weight_is_told_and_more_than_allowed_is_refused(market: Market) -> None:
    now_s = [30.0]
    faults = Faults(weight_limit=4, window_s=60)
    with simulated_exchange(market, clock=lambda: NOW, faults=faults, timer=lambda: now_s[0]) as exchange:
        replies = [get(exchange, **BTC, limit=1) for _ in range(3)]
        assert [reply.headers["x-mbx-used-weight-1m"] for reply in replies] == ["2", "4", "6"]
        assert [reply.status_code for reply in replies] == [200, 200, 429]
        assert replies[2].headers["retry-after"] == "30"
        now_s[0] = 60.0
        assert get(exchange, **BTC, limit=1).status_code == 200
        assert [one.status for one in exchange.candle_requests()] == [200, 200, 429, 200]


def test_every_fault_comes_when_it_is_asked_for(market: Market) -> None:
    slept: list[float] = []
    first = ("too many requests", "banned", "server error", "slow", "nonsense", "reset", None)
    faults = Faults(first=first, retry_after_s=9)
    with simulated_exchange(market, clock=lambda: NOW, faults=faults, sleep=slept.append) as exchange:
        replies = [get(exchange, **BTC, limit=1) for _ in range(5)]
        assert [reply.status_code for reply in replies] == [429, 418, 503, 200, 200]
        assert [reply.headers.get("retry-after") for reply in replies[:2]] == ["9", "9"]
        assert slept == [faults.slow_s]
        assert replies[4].headers["content-type"] == "text/html"
        with pytest.raises(httpx.ReadError):
            get(exchange, **BTC, limit=1)
        assert get(exchange, **BTC, limit=1).status_code == 200


def test_faults_by_chance_are_the_same_for_the_same_seed() -> None:
    def drawn(seed: int) -> list[object]:
        misbehaviour = Misbehaviour(Faults(seed=seed, too_many=0.2, reset=0.2), timer=lambda: 0.0)
        return [misbehaviour.next_fault() for _ in range(200)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert 20 < drawn(1).count("reset") < 60


def test_missing_candles_never_come_and_late_ones_come_when_asked_again(market: Market) -> None:
    faults = Faults(missing=0.1, late=0.1)
    with simulated_exchange(market, clock=lambda: NOW, faults=faults) as exchange:
        first, second, third = (set(opens(get(exchange, **BTC, limit=200, startTime=START_MS))) for _ in range(3))
    within = range(START_MS, START_MS + 200 * HOUR_MS, HOUR_MS)
    never = {at for at in within if at not in second and at not in third}
    assert 5 < len(never) < 40
    assert 5 < len({at for at in within if at in second and at not in first}) < 40


def test_a_corrected_candle_is_wrong_at_first(market: Market) -> None:
    with simulated_exchange(market, clock=lambda: NOW, faults=Faults(corrected=1.0)) as exchange:
        wrong, right = (float(get(exchange, **BTC, startTime=START_MS, limit=1).json()[0][4]) for _ in range(2))
    assert wrong == pytest.approx(1.003 * right)
    assert right == pytest.approx(market.candles("BTC/USDT", 3600, START_MS, START_MS)[0, 4])


def test_a_correction_may_take_its_time(market: Market) -> None:
    faults = Faults(corrected=1.0, corrected_after_s=2 * 3600)
    with simulated_exchange(market, clock=lambda: NOW, faults=faults) as exchange:
        for _ in range(2):
            newest = get(exchange, **BTC, limit=4).json()
    true = market.candles("BTC/USDT", 3600, newest[0][0], newest[2][0])
    wrong = [float(row[4]) != pytest.approx(close) for row, close in zip(newest[:3], true[:, 4], strict=True)]
    assert wrong == [False, True, True]  # they closed 2 h 20 min, 1 h 20 min and 20 min ago


def test_a_route_that_binance_does_not_have_is_not_found(exchange: SimulatedExchange) -> None:
    assert httpx.get(f"{exchange.url}/api/v3/nothing").status_code == 404
