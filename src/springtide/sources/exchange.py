"""Candles of any exchange that ccxt knows: closed ones only, once each, at the pace the exchange allows."""

from __future__ import annotations

import difflib
import math
import random
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from urllib.parse import urlsplit, urlunsplit

import ccxt
import polars as pl

from springtide.domain.errors import NotFound, SettingsError, SourceUnavailable, did_you_mean
from springtide.domain.rows import CANDLE_VALUES, SERIES, TIME, Gap
from springtide.sources import candles
from springtide.sources.patience import (
    LONGEST_WAIT_S,
    PASSING,
    TRIES,
    Pace,
    say_shortly,
    seconds_asked_for,
    wait_before_retry_s,
)
from springtide.sources.seam import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from springtide.settings import words

__all__ = ["ExchangeSource"]

Candle: TypeAlias = "list[float]"  # open time in ms, open, high, low, close, volume
Mark: TypeAlias = "Callable[[str], int | None]"
T = TypeVar("T")

CANDLES_PER_PAGE = 500  # where ccxt does not know an exchange's own limit
SHARE_OF_RATE = 0.95  # of the allowed rate: a reply that comes early must not push us over it
STUMBLES = (TypeError, ValueError, LookupError, AttributeError)  # of ccxt's parsers over a page that is no answer


@dataclass(slots=True)
class _Series:
    """How far one symbol has come in this call; times in ms."""

    symbol: str
    since: int  # the first open time to ask for
    before: int | None  # the newest candle known, None before the first
    jump: int = 0  # nothing was ever traded before: no page needs to ask for it

    def missing(self, times: list[int], step: int) -> list[tuple[int, int]]:
        """First and last missing open time between candles, newer than all that was known: older gaps were reported."""
        known = times if self.before is None else [self.before, *(at for at in times if at > self.before)]
        return [(a + step, b - step) for a, b in pairwise(known) if b - a > step]


@dataclass(frozen=True, slots=True)
class _Page:
    """One request's worth of one series: open times from `since` on, before `until`, in ms."""

    series: _Series
    since: int
    until: int

    def steps(self, step: int) -> int:
        return -(-(self.until - self.since) // step)

    def holds(self, open_ms: float) -> bool:
        return self.since <= open_ms < self.until


class ExchangeSource:
    """The candles of some markets of one exchange; the first call brings the history, later ones what is missing.

    Parameters
    ----------
    settings
        Exchange, symbols, timeframe, history, overlap and, for a proxy or the simulator, the base URL.
    name
        The source's name in springtide.toml.
    now
        Used where the exchange does not tell its own time.
    sleep, timer
        How to wait, and the seconds that waits are counted in.
    jitter
        Numbers from 0 to 1, so that clients that failed together do not come back together.
    lanes
        Most requests under way at once, so that slow replies do not cost rate; the pace is the same for any number.

    Raises
    ------
    SettingsError
        ccxt does not know the exchange, or the exchange has no candles of that timeframe.
    """

    def __init__(
        self,
        settings: words.ExchangeSource,
        *,
        name: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
        timer: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        lanes: int = 8,
    ) -> None:
        self.name = name
        self._settings, self._now, self._lanes_wanted = settings, now, lanes
        self._sleep, self._timer, self._jitter = sleep, timer, jitter
        self._where = f"exchange {settings.exchange}"
        _check_settings(settings, where=f"[sources.{name}]")

    def step_s(self) -> int:
        """Seconds between two candles."""
        return int(ccxt.Exchange.parse_timeframe(self._settings.timeframe))

    def batches(self, mark: Mark) -> Iterator[Batch]:
        """Yield the candles page by page, oldest first within a symbol, each page with the marks to store with it.

        Raises
        ------
        NotFound
            The exchange has no such market; nothing was fetched.
        SourceUnavailable
            The exchange did not answer after several tries, or asked for a long pause.
        BadRows
            The exchange sent what is no candle.
        """
        with self._open_lanes() as lanes:
            lanes.load_markets(self._settings.symbols)
            end = lanes.time_ms() - self.step_s() * 1000 + 1  # a candle that opens before it is closed
            every = [self._begin(symbol, mark, end) for symbol in self._settings.symbols]
            total = sum(max(0, end - series.since) for series in every)
            past = dict.fromkeys(self._settings.symbols, 0)
            for page, found in lanes.read(self._pages(every, end, lanes.limit)):
                series = page.series
                past[series.symbol] = page.until - series.since
                rows = self._complete(lanes, page, found)
                if rows:
                    yield self._batch(series, rows, done=sum(past.values()) / total)
            if silent := [series.symbol for series in every if series.before is None]:
                yield _nothing(silent, self._settings.exchange)

    # --- what to ask for ---------------------------------------------------------------------------------------------

    def _key(self, symbol: str) -> str:
        return f"exchange:{self._settings.exchange}:{self._settings.timeframe}:{symbol}"

    def _begin(self, symbol: str, mark: Mark, end: int) -> _Series:
        """Where to go on: some candles before the newest one stored, or as far back as wanted."""
        step = self.step_s() * 1000
        newest = mark(self._key(symbol))
        if newest is None:
            since = (end - int(self._settings.history.total_seconds() * 1000)) // step * step
            return _Series(symbol, max(0, since), before=None)
        return _Series(symbol, newest - (self._settings.overlap - 1) * step, before=newest)

    def _pages(self, every: list[_Series], end: int, limit: Callable[[str], int]) -> Iterator[_Page]:
        """Pages of all series one after the other, up to `end`."""
        step = self.step_s() * 1000
        for series in every:
            since = series.since
            while since < end:
                until = min(since + limit(series.symbol) * step, end)
                yield _Page(series, since, until)
                since = max(until, series.jump)

    # --- what came ---------------------------------------------------------------------------------------------------

    def _complete(self, lanes: _Lanes, page: _Page, found: list[Candle]) -> list[Candle]:
        """The page's candles, oldest first, after what is missing was asked for once more."""
        series = page.series
        rows = {int(row[0]): row for row in found if page.holds(row[0])}
        if not rows and series.before is None:
            series.jump = min((int(row[0]) for row in found if row[0] >= page.until), default=0)
            return []
        while (hole := self._hole(page, sorted(rows))) is not None:
            again = lanes.candles(_Page(series, hole[0], hole[1] + 1))
            new = {int(row[0]): row for row in again if page.holds(row[0]) and int(row[0]) not in rows}
            if not new:
                break
            rows |= new  # an exchange may send less than a page at a time: ask on while something comes
        return [rows[at] for at in sorted(rows)]

    def _hole(self, page: _Page, times: list[int]) -> tuple[int, int] | None:
        """From the first to the last open time that this page should have brought and did not."""
        step, series = self.step_s() * 1000, page.series
        last = max([*times[-1:], series.before or 0])
        holes = series.missing(times, step)
        if last + step < page.until:
            holes.append((max(last + step, page.since), page.until - 1))
        inside = [(max(a, page.since), b) for a, b in holes if b >= page.since]
        return (inside[0][0], inside[-1][1]) if inside else None

    def _batch(self, series: _Series, rows: list[Candle], *, done: float) -> Batch:
        """Checked rows, gaps and marks; moves the series forward."""
        step, times = self.step_s() * 1000, [int(row[0]) for row in rows]
        holes = series.missing(times, step)
        gaps = tuple(Gap(series.symbol, _utc(a), _utc(b), (b - a) // step + 1) for a, b in holes)
        series.before = max(times[-1], series.before or 0)
        where = f"{self._where}, {series.symbol}"
        frame = candles.check(_frame(series.symbol, rows), where=where, step_s=self.step_s())
        return Batch(rows=frame, marks={self._key(series.symbol): series.before}, gaps=gaps, done=done)

    # --- connections -------------------------------------------------------------------------------------------------

    @contextmanager
    def _open_lanes(self) -> Iterator[_Lanes]:
        pace = Pace(self._sleep, self._timer)
        lanes = _Lanes(self._settings, pace, now=self._now, jitter=self._jitter, count=self._lanes_wanted)
        try:
            yield lanes
        finally:
            lanes.close()


class _Lane:
    """One connection: a ccxt exchange that waits for its turn, and what the last reply's head said."""

    def __init__(self, settings: words.ExchangeSource, pace: Pace) -> None:
        self.exchange = _open(settings)
        self.exchange.throttle = self._throttle
        self.exchange.session.hooks["response"].append(self._note)
        self._pace = pace
        self.status: int | None = None
        self.retry_after: str | None = None

    def _throttle(self, cost: float | None = None) -> None:
        """Stand in for ccxt's own, which knows one thread only: the same rate, shared by all lanes."""
        self.status = self.retry_after = None
        self._pace.wait((1 if cost is None else cost) * self.exchange.rateLimit / 1000 / SHARE_OF_RATE)

    def _note(self, reply: Any, *_: Any, **__: Any) -> None:
        """Keep status and Retry-After, and refuse a page for people: ccxt would read it as "no candles"."""
        self.status, self.retry_after = reply.status_code, reply.headers.get("Retry-After")
        if reply.status_code == 200 and reply.content.lstrip().startswith(b"<"):
            raise ccxt.BadResponse("a page for people instead of data")


class _Lanes:
    """Several connections to one exchange, at one pace, that try again what may pass."""

    def __init__(
        self,
        settings: words.ExchangeSource,
        pace: Pace,
        *,
        now: Callable[[], datetime],
        jitter: Callable[[], float],
        count: int,
    ) -> None:
        self._settings, self._pace, self._now, self._jitter = settings, pace, now, jitter
        self._first = _Lane(settings, pace)
        self._free: SimpleQueue[_Lane] = SimpleQueue()
        self._free.put(self._first)
        turns_per_s = math.ceil(1000 / self._first.exchange.rateLimit)
        self._count = min(count, turns_per_s)  # enough for replies that take a second
        self._threads = ThreadPoolExecutor(self._count, thread_name_prefix=f"exchange {settings.exchange}")

    def close(self) -> None:
        self._pace.stop()
        self._threads.shutdown(wait=True, cancel_futures=True)
        while not self._free.empty():
            self._free.get().exchange.session.close()

    def load_markets(self, symbols: tuple[str, ...]) -> None:
        """Refuse symbols that the exchange does not have, before anything is fetched."""
        markets = self.ask(lambda exchange: exchange.load_markets(), what="list its markets")
        for symbol in symbols:
            if symbol not in markets:
                raise NotFound(
                    f"{self._settings.exchange} has no market {symbol!r}",
                    where=f"exchange {self._settings.exchange}, {len(markets)} markets",
                    do=_nearest(symbol, markets),
                )
        for _ in range(self._count - 1):
            lane = _Lane(self._settings, self._pace)
            lane.exchange.set_markets_from_exchange(self._first.exchange)
            self._free.put(lane)

    def time_ms(self) -> int:
        """The exchange's own clock decides which candles are closed; ours where it does not tell."""
        if self._first.exchange.has["fetchTime"] is not True:
            return int(self._now().timestamp() * 1000)
        return int(self.ask(lambda exchange: exchange.fetch_time(), what="tell the time"))

    def limit(self, symbol: str) -> int:
        """Candles on one page."""
        return int(self._first.exchange.feature_value(symbol, "fetchOHLCV", "limit") or CANDLES_PER_PAGE)

    def read(self, pages: Iterator[_Page]) -> Iterator[tuple[_Page, list[Candle]]]:
        """Each page with what it brought, in order; the next ones are already under way."""
        pending: deque[tuple[_Page, Future[list[Candle]]]] = deque()
        while True:
            while len(pending) < self._count and (page := next(pages, None)):
                pending.append((page, self._threads.submit(self.candles, page)))
            if not pending:
                return
            page, future = pending.popleft()
            if page.until <= page.series.jump:
                future.cancel()
            else:
                yield page, future.result()

    def candles(self, page: _Page) -> list[Candle]:
        """What the exchange sends when asked for a page: perhaps too early, too late or too few, oldest first."""
        timeframe, symbol = self._settings.timeframe, page.series.symbol
        steps = page.steps(int(ccxt.Exchange.parse_timeframe(timeframe)) * 1000)
        rows: list[Candle] = self.ask(
            lambda exchange: _rows(exchange.fetch_ohlcv(symbol, timeframe, since=page.since, limit=steps)),
            what=f"send candles of {symbol}",
        )
        return rows

    def ask(self, call: Callable[[Any], T], *, what: str) -> T:
        """Call until it succeeds, until the tries are used up, or until trying again is no use."""
        lane = self._free.get()
        try:
            tried = 0
            while True:
                tried += 1
                try:
                    return call(lane.exchange)
                except (ccxt.BaseError, *STUMBLES) as error:
                    asked_s = seconds_asked_for(lane.retry_after, self._now())
                    wait_s = wait_before_retry_s(tried, asked_s=asked_s, jitter=self._jitter)
                    if tried == TRIES or not _may_pass(error, lane.status) or wait_s > LONGEST_WAIT_S:
                        raise self._give_up(error, lane, what=what, tried=tried, wait_s=wait_s) from None
                self._pace.pause(wait_s)
        finally:
            self._free.put(lane)

    def _give_up(self, error: Exception, lane: _Lane, *, what: str, tried: int, wait_s: float) -> SourceUnavailable:
        """Our words for it; without ccxt's message chained, which holds the whole URL."""
        status = f"HTTP {lane.status}, " if lane.status else ""
        times = "1 try" if tried == 1 else f"{tried} tries"
        pause = f" it asked for a pause of {wait_s:.0f} s;" if wait_s > LONGEST_WAIT_S else ""
        host = f" at {urlsplit(self._settings.url).hostname}" if self._settings.url else ""
        return SourceUnavailable(
            f"{self._settings.exchange} did not {what} after {times}: {status}{say_shortly(error)}",
            where=f"exchange {self._settings.exchange}{host}",
            do=f"{pause} try again later, it goes on where it stopped; check the connection and url".strip(),
        )


def _open(settings: words.ExchangeSource) -> Any:
    """A ccxt exchange that lists no more markets than needed, at our URL when there is one."""
    exchange = getattr(ccxt, settings.exchange)({"enableRateLimit": True})
    exchange.has["fetchCurrencies"] = False  # a second, larger list that candles do not need
    kinds = exchange.options.get("fetchMarkets")
    types = kinds.get("types") if isinstance(kinds, dict) else None
    if isinstance(types, list) and "spot" in types and not any(":" in symbol for symbol in settings.symbols):
        kinds["types"] = ["spot"]
    if settings.url:
        exchange.urls["api"] = _move(exchange.urls["api"], settings.url.rstrip("/"))
    return exchange


def _move(urls: Any, base: str) -> Any:
    """The same paths below another base URL."""
    if isinstance(urls, dict):
        return {name: _move(url, base) for name, url in urls.items()}
    if not isinstance(urls, str):
        return urls
    there, here = urlsplit(base), urlsplit(urls)
    return urlunsplit((there.scheme, there.netloc, there.path + here.path, here.query, ""))


def _check_settings(settings: words.ExchangeSource, *, where: str) -> None:
    if settings.exchange not in ccxt.exchanges:
        raise SettingsError(
            f"there is no exchange {settings.exchange!r}", where=where, do=_nearest(settings.exchange, ccxt.exchanges)
        )
    exchange = getattr(ccxt, settings.exchange)()
    if not exchange.has["fetchOHLCV"]:
        raise SettingsError(f"{settings.exchange} publishes no candles", where=where, do="choose another exchange")
    timeframes = [name for name in exchange.timeframes or () if not name.endswith(("M", "y"))]  # months differ
    if settings.timeframe not in timeframes:
        raise SettingsError(
            f"{settings.exchange} has no candles of {settings.timeframe!r}",
            where=where,
            do=did_you_mean(settings.timeframe, timeframes),
        )


def _nearest(word: str, known: Any) -> str:
    """A hint from a list too long to show."""
    close = difflib.get_close_matches(word, list(known), n=5, cutoff=0.5)
    return did_you_mean(word, close) if close else "look up its name in ccxt's list"


def _may_pass(error: Exception, status: int | None) -> bool:
    """Whether the same request may succeed later; some exchanges report a busy moment with HTTP 200."""
    if status is None or status < 400:
        return not isinstance(error, ccxt.ExchangeError)
    return status in PASSING or status >= 500


def _rows(answer: Any) -> list[Candle]:
    """Candles as ccxt returns them, oldest first; a `ValueError` when they are none."""
    if not isinstance(answer, list) or any(len(row) < 6 for row in answer):
        raise ValueError("no list of candles")
    return sorted(([int(row[0]), *row[1:6]] for row in answer), key=lambda row: row[0])


def _frame(symbol: str, rows: list[Candle]) -> pl.DataFrame:
    numbers = pl.DataFrame(rows, schema=dict.fromkeys((TIME, *CANDLE_VALUES), pl.Float64), orient="row")
    times = pl.col(TIME).cast(pl.Int64).cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
    return numbers.with_columns(times, pl.lit(symbol).alias(SERIES))


def _nothing(symbols: list[str], exchange: str) -> Batch:
    note = f"{exchange} has no closed candles of {', '.join(symbols)} in the time asked for"
    return Batch(rows=candles.CANDLES.to_frame(), marks={}, note=note)


def _utc(milliseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
