"""Prices and candles of coins from CoinGecko, by the fewest calls that cover what is new."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

import polars as pl

from springtide.domain.clock import utc_now
from springtide.domain.errors import SettingsError, did_you_mean
from springtide.domain.rows import SERIES, TIME
from springtide.domain.units import parse_span
from springtide.sources.budget import CallBudget
from springtide.sources.candles import CANDLES, find_gaps
from springtide.sources.coingecko.client import Client
from springtide.sources.coingecko.replies import NEAR_MS, candles_from, prices_from, volumes_from
from springtide.sources.seam import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from springtide.domain.rows import Gap
    from springtide.settings import words
    from springtide.sources.budget import CallLedger

__all__ = ["CoinGeckoSource"]

Mark: TypeAlias = "Callable[[str], int | None]"

DAY_MS = 86_400_000
CHART_TIMEFRAMES = ("1h", "1d")
CHART_REACH_DAYS = {"demo": 365, "pro": 36_500}  # a paid plan looks back to the first price
EDGE_MS = 3_600_000  # the edge of a plan moves on until the request arrives; beyond it there is no answer at all
HOURLY_DAYS = 89  # a chart of more than 90 days is daily
# The spans in days that one call for candles of a length may cover. Those of four days are left out: CoinGecko does not
# say on which days they begin.
CANDLE_DAYS = {"30m": (1,), "4h": (7, 14, 30), "1h": (1, 7, 14, 30, 90), "1d": (1, 7, 14, 30, 90, 180)}
PAID_INTERVALS = {"1h": "hourly", "1d": "daily"}  # candles that only a paid plan has, and CoinGecko's word for them


@dataclass(slots=True)
class _Coin:
    """What one coin is asked for in this call, and how far it has come; times of rows in ms."""

    series: str
    id: str
    since: int  # the first row wanted
    end: int  # the newest row that can be closed
    before: int | None  # the newest row known, None before the first


@dataclass(frozen=True, slots=True)
class _Page:
    """One call's worth: rows from `since` on, before `until`, in ms."""

    since: int
    until: int
    newest: bool  # whether it reaches up to now


class CoinGeckoSource:
    """Some coins of CoinGecko; the first call brings the history, later ones what is new.

    The route ``market_chart`` gives plain rows, the price at each step and beside it what `also` names; ``ohlc`` gives
    candles. A coin of which nothing new can have closed costs no call.

    Parameters
    ----------
    settings
        Coins, route, timeframe, history, plan, key and allowance.
    name
        The source's name in springtide.toml.
    ledger
        Where every call is counted before it is sent.
    now
        Decides which rows are closed and to which month a call belongs.
    sleep, timer
        How to wait, and the seconds that waits are counted in.
    jitter
        Numbers from 0 to 1, so that clients that failed together do not come back together.

    Raises
    ------
    SettingsError
        The route has no such timeframe, the plan needs a key, or the URL cannot be used.

    Notes
    -----
    Source: https://docs.coingecko.com/reference/coins-id-market-chart,
    https://docs.coingecko.com/reference/coins-id-ohlc
    """

    def __init__(
        self,
        settings: words.CoinGeckoSource,
        *,
        name: str,
        ledger: CallLedger,
        now: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], None] = time.sleep,
        timer: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self._settings, self._now = settings, now
        where = f"[sources.{name}]"
        _check_settings(settings, name=name)
        budget = CallBudget(
            ledger,
            provider=f"CoinGecko {settings.plan}",
            limit=settings.calls_per_month,
            per="month",
            setting=f"calls_per_month in {where}",
            now=now,
        )
        self._client = Client(settings, budget, where=where, now=now, sleep=sleep, timer=timer, jitter=jitter)
        self._step = self.step_s() * 1000

    def step_s(self) -> int:
        """Seconds between two rows."""
        return int(parse_span(self._settings.timeframe).total_seconds())

    def batches(self, mark: Mark) -> Iterator[Batch]:
        """Yield the rows of each coin, a call's worth at a time, oldest first, with the mark to store with them.

        Raises
        ------
        NotFound
            CoinGecko does not know a coin; those before it were yielded.
        CallsUsedUp
            No call is left in this month; what was yielded before stays.
        SettingsError
            CoinGecko refuses the key, the plan or a value.
        SourceUnavailable
            It did not answer after several tries, or asked for a long pause.
        BadRows
            It sent what is no price or candle.
        """
        now, count = int(self._now().timestamp() * 1000), len(self._settings.coins)
        for number, (series, coin_id) in enumerate(self._settings.coins.items()):
            coin = self._begin(series, coin_id, now, mark)
            if note := self._cut_to_reach(coin, now):
                yield _say(note, done=number / count)
            for page in self._pages(coin):
                rows, note = self._fetch(coin, page, now)
                # Perhaps a hiccup: a page of the past that is passed over is never asked for again.
                if rows.is_empty() and not page.newest:
                    rows, note = self._fetch(coin, page, now)
                share = (page.until - coin.since) / (coin.end + self._step - coin.since)
                if not rows.is_empty():
                    yield self._batch(coin, rows, note=note, done=(number + share) / count)
            if coin.before is None:
                yield _say(f"CoinGecko has no closed rows of {series} in the time asked for", done=(number + 1) / count)
        if calls := self._client.calls:
            left, limit = self._client.left, self._settings.calls_per_month
            yield _say(f"{calls} call{'s' * (calls > 1)}, {left:,} of {limit:,} left in this month", done=1.0)

    # --- what to ask for ---------------------------------------------------------------------------------------------

    def _key(self, series: str, coin_id: str) -> str:
        wanted = self._settings
        return f"coingecko:{wanted.route}:{wanted.timeframe}:{coin_id}/{wanted.vs_currency}:{series}"

    def _begin(self, series: str, coin_id: str, now: int, mark: Mark) -> _Coin:
        """Where to go on: some rows before the newest one stored, or as far back as wanted."""
        newest = mark(self._key(series, coin_id))
        # A price is there at its step, a candle one step after its open time.
        end = now // self._step * self._step - (0 if self._settings.route == "market_chart" else self._step)
        if newest is None:
            since = self._first_step(now - _ms(self._settings.history))
        else:
            since = newest - (self._settings.overlap - 1) * self._step
        return _Coin(series, coin_id, max(0, since), end, newest)

    def _cut_to_reach(self, coin: _Coin, now: int) -> str:
        """Begin where the plan lets us; in words what is lost by that."""
        days, edge_ms = CHART_REACH_DAYS[self._settings.plan], EDGE_MS
        if self._settings.route == "ohlc":
            days, edge_ms = CANDLE_DAYS[self._settings.timeframe][-1], 0
        edge = self._first_step(now - days * DAY_MS + edge_ms)
        wanted = coin.since if coin.before is None else coin.before + self._step
        coin.since = max(coin.since, edge)
        if wanted >= edge - self._step:
            return ""
        return (
            f"rows from {_utc(wanted):%Y-%m-%d} to {_utc(edge):%Y-%m-%d} are not available: {self._settings.route} of "
            f"{self._settings.timeframe} reaches back {days} day{'s' * (days > 1)} on the {self._settings.plan} plan"
        )

    def _first_step(self, moment: int) -> int:
        """The first step at or after a moment."""
        return -(-moment // self._step) * self._step

    def _pages(self, coin: _Coin) -> Iterator[_Page]:
        """One page where one call can cover it, else as few as can; none when nothing new can have closed."""
        if coin.before is not None and coin.before >= coin.end:
            return
        hourly_chart = (self._settings.route, self._settings.timeframe) == ("market_chart", "1h")
        since, stop = coin.since, coin.end + self._step
        while hourly_chart and stop - since > HOURLY_DAYS * DAY_MS:
            yield _Page(since, since + HOURLY_DAYS * DAY_MS, newest=False)
            since += HOURLY_DAYS * DAY_MS
        if since < stop:
            yield _Page(since, stop, newest=True)

    # --- what comes --------------------------------------------------------------------------------------------------

    def _fetch(self, coin: _Coin, page: _Page, now: int) -> tuple[pl.DataFrame, str]:
        """The rows of a page, and what is to be said of them."""
        fetch = self._fetch_prices if self._settings.route == "market_chart" else self._fetch_candles
        rows, note = fetch(coin, page, now)
        return rows.filter(pl.col(TIME).is_between(_utc(page.since), _utc(page.until), closed="left")), note

    def _fetch_prices(self, coin: _Coin, page: _Page, now: int) -> tuple[pl.DataFrame, str]:
        if page.newest:
            # One day alone would come as points of five minutes; a daily chart has no such limit.
            least = 1 if self._settings.timeframe == "1d" else 2
            body = self._chart(coin, "market_chart", days=max(least, _days(now - page.since + NEAR_MS)))
        else:
            span = {"from": (page.since - NEAR_MS) // 1000, "to": (page.until + NEAR_MS) // 1000}
            body = self._chart(coin, "market_chart/range", **span)
        rows, left_out = prices_from(
            body,
            series=coin.series,
            also=self._settings.also,
            step_s=self.step_s(),
            newest=page.newest,
            where=f"CoinGecko, market_chart of {coin.id}",
        )
        far = f"{coin.series}: {left_out} points without a price, or far from any step: left out" if left_out else ""
        return rows, far

    def _fetch_candles(self, coin: _Coin, page: _Page, now: int) -> tuple[pl.DataFrame, str]:
        timeframe = self._settings.timeframe
        needed = _days(now - page.since)
        days = next((days for days in CANDLE_DAYS[timeframe] if days >= needed), CANDLE_DAYS[timeframe][-1])
        query = {"vs_currency": self._settings.vs_currency, "days": days}
        if timeframe in PAID_INTERVALS:
            query["interval"] = PAID_INTERVALS[timeframe]
        where = f"CoinGecko, ohlc of {coin.id}"
        body = self._client.get(coin.id, "ohlc", query)
        rows = candles_from(body, series=coin.series, step_s=self.step_s(), now_ms=now, where=where)
        if timeframe != "1d" or rows.is_empty():
            return rows, f"CoinGecko sends no volume of {timeframe} candles: 0"
        volumes = volumes_from(self._chart(coin, "market_chart", days=days), step_s=self.step_s(), where=where)
        joined = rows.drop("volume").join(volumes, on=TIME, how="left", maintain_order="left")
        missing = joined["volume"].null_count()
        note = f"{coin.series}: CoinGecko sent no volume of {missing} candles: 0" if missing else ""
        return joined.with_columns(pl.col("volume").fill_null(0.0)).select(CANDLES.names()), note

    def _chart(self, coin: _Coin, route: str, **span: int) -> Any:
        interval = {"interval": "daily"} if self._settings.timeframe == "1d" else {}
        return self._client.get(coin.id, route, {"vs_currency": self._settings.vs_currency, **interval, **span})

    def _batch(self, coin: _Coin, rows: pl.DataFrame, *, note: str, done: float) -> Batch:
        """Rows, gaps and the mark; moves the coin forward."""
        gaps = _gaps_after(coin, rows, self.step_s())
        newest = int(rows[TIME].dt.epoch("ms").max())  # type: ignore[arg-type] # a column of times has a newest one
        coin.before = max(newest, coin.before or 0)
        return Batch(rows, marks={self._key(coin.series, coin.id): coin.before}, gaps=gaps, note=note, done=done)


def _gaps_after(coin: _Coin, rows: pl.DataFrame, step_s: int) -> tuple[Gap, ...]:
    """Steps missing after the newest row known; older ones were reported."""
    keys = rows.select(SERIES, TIME)
    if coin.before is not None:
        known = pl.DataFrame({SERIES: [coin.series], TIME: [_utc(coin.before)]}, schema=keys.schema)
        keys = pl.concat([known, keys.filter(pl.col(TIME) > _utc(coin.before))])
    return find_gaps(keys, step_s)


def _check_settings(settings: words.CoinGeckoSource, *, name: str) -> None:
    where = f"[sources.{name}]"
    paid = settings.plan == "pro"
    candles = [timeframe for timeframe in CANDLE_DAYS if paid or timeframe not in PAID_INTERVALS]
    timeframes = candles if settings.route == "ohlc" else CHART_TIMEFRAMES
    if settings.timeframe not in timeframes:
        raise SettingsError(
            f"{settings.route} has no rows of {settings.timeframe!r} on the {settings.plan} plan",
            where=f"timeframe in {where}",
            do=did_you_mean(settings.timeframe, timeframes),
        )
    if paid and settings.key is None:
        raise SettingsError(
            "a paid plan needs its key",
            where=f"key in {where}",
            do=f"set the environment variable SPRINGTIDE_SOURCES__{name.upper()}__KEY",
        )
    if settings.url is not None and not _is_plain(settings.url):
        raise SettingsError(
            "the URL has no host, is not http or https, or holds a name and a password",
            where=f"url in {where}",
            do="write https://HOST/PATH",
        )


def _is_plain(url: str) -> bool:
    """An address without a name and a password, which errors could show."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None


def _say(note: str, *, done: float) -> Batch:
    """Something for people, without rows."""
    return Batch(pl.DataFrame(), marks={}, note=note, done=done)


def _days(milliseconds: int) -> int:
    """Whole days that cover a span."""
    return -(-milliseconds // DAY_MS)


def _ms(span: timedelta) -> int:
    return int(span.total_seconds() * 1000)


def _utc(milliseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
