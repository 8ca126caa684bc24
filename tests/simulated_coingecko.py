"""CoinGecko on loopback: its routes and rules for invented prices, and what may go wrong."""

from __future__ import annotations

import json
import math
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Fault: TypeAlias = Literal[
    "too many",
    "too many in the body",
    "error",
    "reset",
    "cut",
    "page",
    "elsewhere",
    "empty",
    "changed",
    "twice",
    "clash",
]

STEP_S = {"5m": 300, "30m": 1800, "1h": 3600, "4h": 14_400, "1d": 86_400}
DAY_S = 86_400
FAILURES: dict[Fault, tuple[int, Any, dict[str, str]]] = {
    "error": (500, {"status": {"error_code": 500, "error_message": "Internal Server Error"}}, {}),
    "page": (200, "<html>Just a moment...</html>", {}),
    "cut": (200, '{"prices": [[17', {"Content-Length": "5000"}),
    "elsewhere": (302, "", {"Location": "http://127.0.0.1:9/stolen"}),
}
OHLC_DAYS = (1, 7, 14, 30, 90, 180, 365)
KEY = "CG-hunter2"


def price(coin: str, at_s: float) -> float:
    """What a coin costs at a moment."""
    return 100 + len(coin) + 10 * math.sin(at_s / 40_000) + math.sin(at_s / 3000)


def volume(at_s: float) -> float:
    """What was traded in the 24 hours before a moment."""
    return 1e6 + 1e5 * math.sin(at_s / 90_000)


@dataclass
class CoinGecko:
    """A running CoinGecko; `asked` are the paths and queries that came, `faults` what goes wrong with the next ones."""

    clock: Callable[[], datetime]
    listed: Mapping[str, datetime]  # coins, and since when they have a price
    key: str | None = None  # the one that is allowed; any when None
    paid: bool = False
    retry_after: str | None = "7"
    faults: list[Fault | None] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    keys: list[dict[str, str]] = field(default_factory=list)  # the headers that carried a key
    url: str = ""

    def answer(self, target: str, headers: Mapping[str, str]) -> tuple[int, Any, dict[str, str]] | None:
        """Status, body (text as it is) and headers; None cuts the connection."""
        parts = urlsplit(target)
        path, query = parts.path.removeprefix("/api/v3"), dict(parse_qsl(parts.query))
        self.asked.append((path, query))
        self.keys.append({name.lower(): value for name, value in headers.items() if "api-key" in name.lower()})
        fault = self.faults.pop(0) if self.faults else None
        if fault == "reset":
            return None
        if fault in ("too many", "too many in the body"):
            waits = {"Retry-After": self.retry_after} if self.retry_after else {}
            body = {"status": {"error_code": 429, "error_message": "You've exceeded the Rate Limit."}}
            return (429, body, waits) if fault == "too many" else (200, body, {})
        if fault in FAILURES:
            return FAILURES[fault]
        status, body = self._route(path, query, headers)
        return status, _spoiled(body, fault) if status == 200 else body, {}

    def _route(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> tuple[int, Any]:
        header = "x-cg-pro-api-key" if self.paid else "x-cg-demo-api-key"
        if self.key is not None and headers.get(header) != self.key:
            return 401, {"status": {"error_code": 10_002, "error_message": f"API Key Missing: {dict(headers)}"}}
        _, _, coin, route = path.split("/", 3)
        if coin not in self.listed:
            return 404, {"error": "coin not found"}
        if query.get("vs_currency") != "usd":
            return 400, {"error": "invalid vs_currency"}
        now = self.clock().timestamp()
        if route == "ohlc":
            return self._ohlc(coin, query, now)
        ranged = route == "market_chart/range"
        first = float(query["from"]) if ranged else now - int(query["days"]) * DAY_S
        last = min(now, float(query["to"])) if ranged else now
        if not self.paid and now - first > 365 * DAY_S + 1:
            message = "Your request exceeds the allowed time range."
            return 401, {"error": {"status": {"error_code": 10_012, "error_message": message}}}
        return 200, self._chart(coin, query, first, last, now)

    def _chart(self, coin: str, query: Mapping[str, str], first: float, last: float, now: float) -> dict[str, Any]:
        days = (last - first) / DAY_S
        timeframe = "1d" if query.get("interval") == "daily" or days > 90 else "1h"
        if timeframe == "1h" and days <= 1 and last == now:
            timeframe = "5m"
        step = STEP_S[timeframe]
        first = max(first, self.listed[coin].timestamp())
        steps = range(math.ceil(first / step) * step, int(last) + 1, step)
        late = [0 if timeframe == "1d" else 110 + at // step % 23 for at in steps]  # seconds after the step
        moments = [at + wait for at, wait in zip(steps, late, strict=True) if at + wait <= last]
        if last == now and first <= now:
            moments.append(now)
        lists = {"prices": lambda at: price(coin, at), "market_caps": lambda at: 1e3 * price(coin, at)}
        return {
            name: [[int(at * 1000), of(at)] for at in moments]
            for name, of in {**lists, "total_volumes": volume}.items()
        }

    def _ohlc(self, coin: str, query: Mapping[str, str], now: float) -> tuple[int, Any]:
        days = int(query["days"])
        if days not in OHLC_DAYS:
            return 400, {"error": "Invalid days parameter"}
        timeframe = "30m" if days <= 2 else "4h"
        if "interval" in query:
            if not self.paid:
                return 401, {"error": {"status": {"error_code": 10_005, "error_message": "limited to PRO API"}}}
            timeframe = {"daily": "1d", "hourly": "1h"}[query["interval"]]
        step = STEP_S[timeframe]
        first = max(now - days * DAY_S, self.listed[coin].timestamp())
        closes = range(math.ceil(first / step + 1) * step, int(now) + 1, step)
        return 200, [_candle(coin, at - step, at, stamp=at) for at in closes] + [
            _candle(coin, now // step * step, now, stamp=now)  # still open
        ]


def candle(coin: str, opened: float, step_s: int) -> list[float]:
    """Open, high, low, close of a candle."""
    return _candle(coin, opened, opened + step_s, stamp=0)[1:]


def _candle(coin: str, opened: float, closed: float, *, stamp: float) -> list[float]:
    inside = [price(coin, opened + (closed - opened) * part / 6) for part in range(7)]
    return [int(stamp * 1000), inside[0], max(inside), min(inside), inside[-1]]


def _spoiled(body: Any, fault: Fault | None) -> Any:
    """A body with a fault in it."""
    chart = isinstance(body, dict)
    if fault == "empty":
        return {name: [] for name in body} if chart else []
    if fault == "changed":
        return {"price": body["prices"]} if chart else [{"time": row[0], "open": row[1]} for row in body]
    if fault in ("twice", "clash"):
        more = 0.0 if fault == "twice" else 1.0
        double = lambda rows: [*rows[:5], [rows[4][0], *(value + more for value in rows[4][1:])], *rows[5:]]  # noqa: E731
        return {name: double(rows) for name, rows in body.items()} if chart else double(body)
    return body


@contextmanager
def simulated_coingecko(
    clock: Callable[[], datetime] | datetime,
    *coins: str,
    listed: Mapping[str, datetime] | None = None,
    faults: tuple[Fault | None, ...] = (),
    **words: Any,
) -> Iterator[CoinGecko]:
    """Serve on loopback until the block ends."""
    now = clock if callable(clock) else lambda: clock
    since = dict.fromkeys(coins or ("bitcoin",), datetime(2013, 4, 28, tzinfo=UTC)) | dict(listed or {})
    world = CoinGecko(now, since, faults=list(faults), **words)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reply = world.answer(self.path, self.headers)
            if reply is None:
                return  # the connection ends without a word
            status, body, headers = reply
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        world.url = f"http://127.0.0.1:{server.server_address[1]}/api/v3"
        try:
            yield world
        finally:
            server.shutdown()
            thread.join()
