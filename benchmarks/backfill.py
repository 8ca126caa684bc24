"""How fast a backfill is, and how much of the allowed request rate it uses.

Run with ``python benchmarks/backfill.py``. The simulated exchange answers on loopback and enforces Binance's limit of
weight (100 a second, counted in short windows so that a run of seconds can break it); every reply is held back as long
as the first column says, as a network would.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from springtide.settings.words import ExchangeSource as Wanted
from springtide.sources.exchange import ExchangeSource
from springtide.sources.simulator.market import Market
from springtide.sources.simulator.misbehaviour import Faults
from springtide.sources.simulator.server import WEIGHTS, simulated_exchange

NOW = datetime(2024, 6, 1, tzinfo=UTC)
WEIGHT_PER_S = 100  # Binance spot: 6000 a minute
WINDOW_S = 2
DAYS = 120
SYMBOLS = ("BTC/USDT", "ETH/USDT")


@dataclass(frozen=True, slots=True)
class Measured:
    """One backfill."""

    candles: int
    requests: int
    refused: int
    seconds: float
    share: float  # of the allowed weight


def measure(market: Market, *, latency_s: float, lanes: int) -> Measured:
    """Backfill minutes from an exchange whose replies take `latency_s`."""
    faults = Faults(slow=1.0, slow_s=latency_s, weight_limit=WEIGHT_PER_S * WINDOW_S, window_s=WINDOW_S)
    with simulated_exchange(market, clock=lambda: NOW, faults=faults) as exchange:
        wanted = Wanted(
            kind="exchange",
            exchange="binance",
            symbols=SYMBOLS,
            timeframe="1m",
            history=timedelta(days=DAYS),
            url=exchange.url,
        )
        source = ExchangeSource(wanted, name="benchmark", lanes=lanes)
        begun = time.perf_counter()
        candles = sum(len(batch.rows) for batch in source.batches(lambda _: None))
        seconds = time.perf_counter() - begun
    weight = sum(WEIGHTS[one.path] for one in exchange.asked)
    refused = sum(one.status == 429 for one in exchange.asked)
    return Measured(candles, len(exchange.asked), refused, seconds, weight / seconds / WEIGHT_PER_S)


def main() -> None:
    market = Market(SYMBOLS, seed=1, start=NOW - timedelta(days=DAYS + 1), base="1m", substeps=6)
    for symbol in SYMBOLS:  # generated now, so that it does not count
        market.candles(symbol, 60, market.start_ms, int(NOW.timestamp() * 1000))
    print("latency  lanes   candles  requests  refused  seconds  candles/s  share of allowed rate")
    for latency_s, lanes in ((0.0, 1), (0.0, 8), (0.1, 1), (0.1, 4), (0.1, 8)):
        m = measure(market, latency_s=latency_s, lanes=lanes)
        rate = m.candles / m.seconds
        print(
            f"{latency_s * 1000:4.0f} ms  {lanes:5d}  {m.candles:8,d}  {m.requests:8d}  {m.refused:7d}"
            f"  {m.seconds:7.2f}  {rate:9,.0f}  {m.share:21.0%}"
        )


if __name__ == "__main__":
    main()
