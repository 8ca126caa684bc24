"""The HTTP face of the simulated exchange: Binance's public REST routes on loopback.

Source: https://developers.binance.com/docs/binance-spot-api-docs/rest-api
"""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np

from springtide.sources.simulator.misbehaviour import Fault, Faults, Misbehaviour

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from numpy.typing import NDArray

    from springtide.sources.simulator.market import Market

__all__ = ["Asked", "SimulatedExchange", "simulated_exchange"]

INTERVALS_S = {"1m": 60, "5m": 300, "15m": 900, "1h": 3600, "4h": 14_400, "1d": 86_400}
WEIGHTS = {"/api/v3/klines": 2, "/api/v3/exchangeInfo": 20, "/api/v3/time": 1, "/api/v3/ping": 1}
DISTORTION = 1.003  # of the close of a candle that is corrected later


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that came in, and how it was answered; status 0 is a connection that was cut."""

    path: str
    query: Mapping[str, str]
    status: int
    at_s: float


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SimulatedExchange:
    """A running exchange: its address, and every request it was asked."""

    url: str
    asked: list[Asked]

    def candle_requests(self) -> list[Asked]:
        """The requests for candles."""
        return [one for one in self.asked if one.path.endswith("/klines")]


@contextmanager
def simulated_exchange(
    market: Market,
    *,
    clock: Callable[[], datetime],
    faults: Faults | None = None,
    timer: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[SimulatedExchange]:
    """Serve `market` on loopback until the block ends.

    Parameters
    ----------
    market
        What is traded.
    clock
        The exchange's time: no candle of its future is served, and the candle that is still open comes last.
    faults
        What goes wrong; nothing when not given.
    timer
        Seconds that the request limit is counted in; real ones, however fast `clock` runs.
    sleep
        Used for slow replies.
    """
    desk = _Desk(market, clock, Misbehaviour(faults or Faults(), timer=timer), timer=timer, sleep=sleep)
    with _Server(("127.0.0.1", 0), desk) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="simulated exchange")
        thread.start()
        try:
            yield SimulatedExchange(f"http://127.0.0.1:{server.server_address[1]}", desk.asked)
        finally:
            server.shutdown()
            thread.join()
            server.hang_up()


class _Refusal(Exception):
    """An error in Binance's shape: HTTP 400 with a code and a message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.reply = Reply(400, {"code": code, "msg": message})


class _Desk:
    """Answers requests; knows nothing of sockets."""

    def __init__(
        self,
        market: Market,
        clock: Callable[[], datetime],
        misbehaviour: Misbehaviour,
        *,
        timer: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self.market, self.clock, self.misbehaviour, self.timer, self.sleep = market, clock, misbehaviour, timer, sleep
        self.asked: list[Asked] = []
        self._symbols = {symbol.replace("/", ""): symbol for symbol in market.symbols}
        self._routes: Mapping[str, Callable[[Mapping[str, str]], Any]] = {
            "/api/v3/ping": lambda _: {},
            "/api/v3/time": lambda _: {"serverTime": self._now_ms()},
            "/api/v3/exchangeInfo": lambda _: self._exchange_info(),
            "/api/v3/klines": self._klines,
        }

    def answer(self, target: str) -> Reply | None:
        """The reply to a GET; None cuts the connection."""
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query))
        reply = self._answer(parts.path, query)
        self.asked.append(Asked(parts.path, query, reply.status if reply else 0, self.timer()))
        return reply

    def _answer(self, path: str, query: Mapping[str, str]) -> Reply | None:
        if path not in self._routes:
            return Reply(404, {"code": -1000, "msg": "no such route"})
        used, wait_s = self.misbehaviour.charge(WEIGHTS[path])
        if wait_s is not None:
            return _too_many(wait_s, used)
        fault = self.misbehaviour.next_fault() if path.endswith("/klines") else None
        if fault == "reset":
            return None
        if fault == "slow":
            self.sleep(self.misbehaviour.faults.slow_s)
        elif fault is not None:
            return self._fail(fault, used)
        try:
            return Reply(200, self._routes[path](query), {"x-mbx-used-weight-1m": str(used)})
        except _Refusal as refusal:
            return refusal.reply

    def _fail(self, fault: Fault, used: int) -> Reply:
        wait_s = self.misbehaviour.faults.retry_after_s
        if fault == "too many requests":
            return _too_many(wait_s, used)
        if fault == "banned":
            message = f"Way too many requests; IP banned until {self._now_ms() + 1000 * wait_s}."
            return Reply(418, {"code": -1003, "msg": message}, {"Retry-After": str(wait_s)})
        if fault == "nonsense":
            return Reply(200, "<html>We will be right back.</html>", {"x-mbx-used-weight-1m": str(used)})
        return Reply(503, {"code": -1000, "msg": "Service unavailable."})

    def _now_ms(self) -> int:
        return int(self.clock().timestamp() * 1000)

    def _exchange_info(self) -> dict[str, Any]:
        faults = self.misbehaviour.faults
        limit = {"interval": "SECOND", "intervalNum": round(faults.window_s), "limit": faults.weight_limit}
        return {
            "timezone": "UTC",
            "serverTime": self._now_ms(),
            "rateLimits": [{"rateLimitType": "REQUEST_WEIGHT", **limit}],
            "exchangeFilters": [],
            "symbols": [_symbol_info(symbol) for symbol in self.market.symbols],
        }

    def _klines(self, query: Mapping[str, str]) -> list[list[Any]]:
        for name in ("symbol", "interval"):
            if not query.get(name):
                raise _Refusal(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
        if query["symbol"] not in self._symbols:
            raise _Refusal(-1121, "Invalid symbol.")
        interval_s = INTERVALS_S.get(query["interval"], 0)
        if interval_s < self.market.base_s or interval_s % self.market.base_s:
            raise _Refusal(-1120, "Invalid interval.")
        limit = min(self.misbehaviour.faults.most_candles, _whole(query, "limit") or 500)
        now_ms = self._now_ms()
        end_ms = min(now_ms, _whole(query, "endTime") or now_ms)
        start_ms = _whole(query, "startTime")
        found = self._candles(self._symbols[query["symbol"]], interval_s, start_ms, end_ms, limit, now_ms)
        return [_kline(row, interval_s) for row in found]

    def _candles(
        self, symbol: str, interval_s: int, start_ms: int | None, end_ms: int, limit: int, now_ms: int
    ) -> list[list[float]]:
        """Up to `limit` candles: the first from `start_ms` on, or the last before `end_ms`."""
        step_ms = interval_s * 1000
        opened = self.market.opened_ms(symbol)
        first = opened if start_ms is None else max(start_ms, opened)
        if start_ms is None:
            first = max(opened, (end_ms // step_ms - limit + 1) * step_ms)
        found: list[list[float]] = []
        while len(found) < limit and first <= end_ms:
            last = min(end_ms, first + (limit - 1) * step_ms)
            found += self._seen(symbol, interval_s, self._up_to_now(symbol, interval_s, first, last, now_ms), now_ms)
            first = last // step_ms * step_ms + step_ms
        return found[:limit]

    def _up_to_now(self, symbol: str, interval_s: int, first_ms: int, last_ms: int, now_ms: int) -> NDArray[np.float64]:
        """Closed candles, and the open one as far as it has come."""
        open_ms = now_ms // (interval_s * 1000) * (interval_s * 1000)
        closed = self.market.candles(symbol, interval_s, first_ms, min(last_ms, open_ms - 1))
        if not first_ms <= open_ms <= last_ms:
            return closed
        return np.concatenate([closed, self.market.so_far(symbol, interval_s, now_ms)])

    def _seen(self, symbol: str, interval_s: int, candles: NDArray[np.float64], now_ms: int) -> list[list[float]]:
        """The candles as this reply shows them: some left out, some not yet corrected."""
        rows: list[list[float]] = candles.tolist()
        faults = self.misbehaviour.faults
        if faults.missing or faults.late:
            rows = [row for row in rows if not self.misbehaviour.hides(symbol, interval_s, int(row[0]))]
        if faults.corrected:
            for row in rows:
                age_s = (now_ms - row[0]) / 1000 - interval_s
                if age_s >= 0 and self.misbehaviour.distorts(symbol, interval_s, int(row[0]), age_s=age_s):
                    row[4] *= DISTORTION
                    row[2] = max(row[2], row[4])
        return rows


class _Handler(BaseHTTPRequestHandler):
    """One connection; replies leave in one piece, so that they do not wait for an acknowledgement."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:  # the client went away, or we cut it off on purpose
            self.close_connection = True

    def do_GET(self) -> None:
        reply = self.server.desk.answer(self.path)
        if reply is None:
            self._cut()
            return
        text = isinstance(reply.body, str)  # a page for people, where a program asked
        body = (reply.body if text else json.dumps(reply.body)).encode()
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/html" if text else "application/json;charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _cut(self) -> None:
        """Close without a goodbye: the client sees a connection reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's word
        """Say nothing: `SimulatedExchange.asked` is the log."""


class _Server(ThreadingHTTPServer):
    """Knows its connections, so that it can end those that are kept alive."""

    daemon_threads = False

    def __init__(self, address: tuple[str, int], desk: _Desk) -> None:
        super().__init__(address, _Handler)
        self.desk = desk
        self.connections: set[socket.socket] = set()

    def shutdown_request(self, request: Any) -> None:
        """Close; without the shutdown that would turn a reset into a goodbye."""
        self.close_request(request)

    def hang_up(self) -> None:
        """End the connections that are still open, so that their threads finish."""
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:  # its thread closed it in the meantime
                continue


def _whole(query: Mapping[str, str], name: str) -> int | None:
    if name not in query:
        return None
    if not re.fullmatch(r"\d{1,20}", query[name]):
        raise _Refusal(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
    return int(query[name])


def _too_many(wait_s: int, used: int) -> Reply:
    body = {"code": -1003, "msg": "Too many requests; please use the websocket for live updates."}
    return Reply(429, body, {"Retry-After": str(wait_s), "x-mbx-used-weight-1m": str(used)})


def _symbol_info(symbol: str) -> dict[str, Any]:
    base, quote = symbol.split("/")
    return {
        "symbol": base + quote,
        "status": "TRADING",
        "baseAsset": base,
        "baseAssetPrecision": 8,
        "quoteAsset": quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.00000001", "maxPrice": "0", "tickSize": "0.00000001"},
            {"filterType": "LOT_SIZE", "minQty": "0.00001000", "maxQty": "9000.0", "stepSize": "0.00001000"},
        ],
        "permissions": ["SPOT"],
    }


def _kline(row: list[float], interval_s: int) -> list[Any]:
    """A candle in Binance's twelve columns."""
    opened, first, high, low, last, volume = row
    turnover = volume * (high + low + last) / 3
    return [
        int(opened),
        *(f"{value:.8f}" for value in (first, high, low, last, volume)),
        int(opened) + interval_s * 1000 - 1,
        f"{turnover:.8f}",
        int(volume) + 1,
        f"{volume / 2:.8f}",
        f"{turnover / 2:.8f}",
        "0",
    ]
