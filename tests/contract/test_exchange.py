"""What the exchange source promises, against the simulated exchange and recorded replies of a real one."""

from __future__ import annotations

import itertools
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from springtide.domain.errors import NotFound, SettingsError, SourceUnavailable
from springtide.settings import words
from springtide.sources.exchange import ExchangeSource, _Series
from springtide.sources.patience import TRIES, Pace
from springtide.sources.simulator.market import Market
from springtide.sources.simulator.misbehaviour import Faults, Misbehaviour
from springtide.sources.simulator.server import SimulatedExchange, simulated_exchange

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from springtide.domain.rows import Gap
    from springtide.sources.seam import Batch

HOUR_MS = 3_600_000
START = datetime(2023, 1, 1, tzinfo=UTC)
NOW = datetime(2024, 3, 1, 10, 20, tzinfo=UTC)
NEWEST = datetime(2024, 3, 1, 9, tzinfo=UTC)  # open time of the newest closed candle
DAYS = 100  # of history: 2400 candles, three pages a symbol
SYMBOLS = ("BTC/USDT", "ETH/USDT")
COLUMNS = ["open", "high", "low", "close", "volume"]


class Waits:
    """A timer that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def timer(self) -> float:
        return self.now_s


@dataclass
class Collected:
    """All batches of one call, stored as a caller would."""

    batches: list[Batch] = field(default_factory=list)

    @property
    def rows(self) -> pl.DataFrame:
        return pl.concat(batch.rows for batch in self.batches)

    @property
    def gaps(self) -> list[Gap]:
        return [gap for batch in self.batches for gap in batch.gaps]


@pytest.fixture(scope="module")
def market() -> Market:
    return Market((*SYMBOLS, "SOL/USDT"), seed=5, start=START, listed={"SOL/USDT": datetime(2024, 2, 20, tzinfo=UTC)})


@contextmanager
def running(market: Market, *, at: datetime = NOW, **faults: Any) -> Iterator[SimulatedExchange]:
    with simulated_exchange(market, clock=lambda: at, faults=Faults(**faults), sleep=lambda _: None) as exchange:
        yield exchange


def a_source(
    exchange: SimulatedExchange, waits: Waits | None = None, *, lanes: int = 1, **changes: Any
) -> ExchangeSource:
    wanted = {"symbols": SYMBOLS, "history": timedelta(days=DAYS), "url": exchange.url, **changes}
    waits = waits or Waits()
    return ExchangeSource(
        words.ExchangeSource(kind="exchange", **{"exchange": "binance", **wanted}),
        name="coins",
        now=lambda: NOW + timedelta(days=1),  # a local clock that is wrong: the exchange's own decides
        sleep=waits.sleep,
        timer=waits.timer,
        jitter=lambda: 1.0,
        lanes=lanes,
    )


def collect(source: ExchangeSource, marks: dict[str, int], *, batches: int | None = None) -> Collected:
    """Take that many batches (all when not given), store the marks of each, and walk away."""
    collected = Collected()
    stream = source.batches(marks.get)
    for batch in itertools.islice(stream, batches):
        collected.batches.append(batch)
        marks.update(batch.marks)
    stream.close()  # type: ignore[attr-defined] # a generator, as every source's is
    return collected


def truth(market: Market, symbol: str, first: datetime, last: datetime) -> pl.DataFrame:
    found = market.candles(symbol, 3600, int(first.timestamp() * 1000), int(last.timestamp() * 1000))
    frame = pl.DataFrame(found, schema=["ms", *COLUMNS], orient="row")
    times = pl.from_epoch(pl.col("ms").cast(pl.Int64), time_unit="ms").dt.replace_time_zone("UTC")
    return frame.select(pl.lit(symbol).alias("unique_id"), times.cast(pl.Datetime("us", "UTC")).alias("ds"), *COLUMNS)


def opens(rows: pl.DataFrame, symbol: str = "BTC/USDT") -> list[datetime]:
    return rows.filter(pl.col("unique_id") == symbol)["ds"].to_list()


def hours_between(first: datetime, last: datetime) -> list[datetime]:
    return [first + timedelta(hours=n) for n in range(int((last - first) / timedelta(hours=1)) + 1)]


# --- what is stored --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lanes", [1, 4])
def test_the_first_call_brings_every_closed_candle_of_the_history_once(market: Market, lanes: int) -> None:
    with running(market) as exchange:
        rows = collect(a_source(exchange, lanes=lanes), {}).rows
    first = NEWEST - timedelta(days=DAYS)
    expected = pl.concat(truth(market, symbol, first, NEWEST) for symbol in SYMBOLS)
    assert rows.height == 2 * (DAYS * 24 + 1)
    assert_frame_equal(rows, expected)


def test_the_pages_are_as_large_as_the_exchange_allows_and_tell_how_far_the_work_is(market: Market) -> None:
    with running(market) as exchange:
        batches = collect(a_source(exchange), {}).batches
        assert [one.query["limit"] for one in exchange.candle_requests()] == 2 * ["1000", "1000", "401"]
    done = [batch.done for batch in batches]
    assert done == sorted(done)
    assert done[-1] == 1.0


@pytest.mark.parametrize("stored", range(6))
def test_a_backfill_stopped_after_any_page_goes_on_there(market: Market, stored: int) -> None:
    marks: dict[str, int] = {}
    with running(market) as exchange:
        before = collect(a_source(exchange, overlap=0), marks, batches=stored).rows if stored else None
        asked = len(exchange.candle_requests())
        after = collect(a_source(exchange, overlap=0), marks).rows
        again = exchange.candle_requests()[asked:]
    rows = after if before is None else pl.concat([before, after])
    assert rows.select("unique_id", "ds").is_unique().all()
    assert rows.height == 2 * (DAYS * 24 + 1)
    assert len(again) == 6 - stored


def test_nobody_keeps_asking_after_the_caller_walked_away(market: Market) -> None:
    with running(market) as exchange:
        collect(a_source(exchange, lanes=4), {}, batches=1)
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("exchange binance")]


def test_a_second_call_brings_what_is_new_and_the_overlap(market: Market) -> None:
    marks: dict[str, int] = {}
    with running(market) as exchange:
        collect(a_source(exchange), marks)
        assert opens(collect(a_source(exchange), marks).rows) == hours_between(NEWEST - timedelta(hours=2), NEWEST)
    with running(market, at=NOW + timedelta(hours=3)) as exchange:
        rows = collect(a_source(exchange), marks).rows
        assert opens(rows) == hours_between(NEWEST - timedelta(hours=2), NEWEST + timedelta(hours=3))


def test_many_small_calls_store_what_one_large_call_stores(market: Market) -> None:
    marks: dict[str, int] = {}
    stored: dict[datetime, tuple[float, ...]] = {}
    small = {"symbols": ("BTC/USDT",), "history": timedelta(days=1)}
    for minutes in (0, 1, 40, 60, 61, 150, 151, 600, 3000):
        with running(market, at=NOW + timedelta(minutes=minutes)) as exchange:
            for batch in collect(a_source(exchange, **small), marks).batches:
                stored |= {row[1]: row[2:] for row in batch.rows.iter_rows()}
    expected = truth(market, "BTC/USDT", NEWEST - timedelta(days=1), NEWEST + timedelta(hours=50))
    assert sorted((at, *values) for at, values in stored.items()) == [row[1:] for row in expected.iter_rows()]


def test_without_overlap_and_without_news_nothing_comes(market: Market) -> None:
    marks: dict[str, int] = {}
    with running(market) as exchange:
        collect(a_source(exchange, overlap=0), marks)
        assert collect(a_source(exchange, overlap=0), marks).batches == []


@pytest.mark.parametrize(
    ("at", "newest"),
    [
        (datetime(2024, 3, 1, 9, 59, 59, 999_000, tzinfo=UTC), datetime(2024, 3, 1, 8, tzinfo=UTC)),
        (datetime(2024, 3, 1, 10, tzinfo=UTC), datetime(2024, 3, 1, 9, tzinfo=UTC)),
        (datetime(2024, 3, 1, 10, 59, tzinfo=UTC), datetime(2024, 3, 1, 9, tzinfo=UTC)),
    ],
)
def test_the_open_candle_is_never_stored(market: Market, at: datetime, newest: datetime) -> None:
    with running(market, at=at) as exchange:
        rows = collect(a_source(exchange, history=timedelta(days=2)), {}).rows
    assert opens(rows)[-1] == newest


def test_a_coin_listed_later_begins_at_its_listing_without_a_request_per_empty_page(market: Market) -> None:
    with running(market) as exchange:
        collected = collect(a_source(exchange, symbols=("SOL/USDT",), history=timedelta(days=400)), {})
        assert len(exchange.candle_requests()) == 2
    assert opens(collected.rows, "SOL/USDT") == hours_between(datetime(2024, 2, 20, tzinfo=UTC), NEWEST)
    assert collected.gaps == []


def test_a_market_without_candles_is_told_in_a_note(market: Market) -> None:
    with running(market, at=datetime(2024, 1, 1, tzinfo=UTC)) as exchange:
        (batch,) = collect(a_source(exchange, symbols=("SOL/USDT",)), {}).batches
    assert batch.rows.is_empty()
    assert "no closed candles of SOL/USDT" in batch.note


def test_an_exchange_that_sends_less_than_a_page_loses_nothing(market: Market) -> None:
    with running(market, most_candles=150) as exchange:
        collected = collect(a_source(exchange, symbols=("BTC/USDT",)), {})
    assert opens(collected.rows) == hours_between(NEWEST - timedelta(days=DAYS), NEWEST)
    assert collected.gaps == []


# --- gaps and corrections --------------------------------------------------------------------------------------------


def steps_of(gaps: list[Gap], symbol: str) -> list[datetime]:
    return [at for gap in gaps if gap.series == symbol for at in hours_between(gap.first, gap.last)]


def test_what_is_missing_is_asked_for_once_more_then_reported_and_never_again(market: Market) -> None:
    marks: dict[str, int] = {}
    faults = Faults(missing=0.004)
    unlucky = Misbehaviour(faults, timer=lambda: 0.0)
    with running(market, missing=0.004) as exchange:
        collected = collect(a_source(exchange), marks)
        asked = len(exchange.candle_requests())
        assert asked <= 2 * 6
        again = collect(a_source(exchange), marks)
        assert again.gaps == []
        assert len(exchange.candle_requests()) - asked == 2
    for symbol in SYMBOLS:
        wanted = hours_between(NEWEST - timedelta(days=DAYS), NEWEST)
        missing = [at for at in wanted if unlucky.hides(symbol, 3600, int(at.timestamp() * 1000))]
        assert len(missing) > 3
        assert steps_of(collected.gaps, symbol) == missing
        assert opens(collected.rows, symbol) == [at for at in wanted if at not in missing]
    assert all(gap.steps == len(hours_between(gap.first, gap.last)) for gap in collected.gaps)


def test_a_gap_inside_the_overlap_is_asked_for_in_one_call_only(market: Market) -> None:
    marks: dict[str, int] = {}
    with running(market, missing=0.3) as exchange:
        wide = {"overlap": 20, "history": timedelta(days=3), "symbols": ("BTC/USDT",)}
        first = collect(a_source(exchange, **wide), marks)
        assert first.gaps
        asked = len(exchange.candle_requests())
        assert collect(a_source(exchange, **wide), marks).gaps == []
        newest_is_there = opens(first.rows)[-1] == NEWEST
        assert len(exchange.candle_requests()) - asked == (1 if newest_is_there else 2)


def test_a_candle_that_was_only_late_is_no_gap(market: Market) -> None:
    with running(market, late=0.01) as exchange:
        collected = collect(a_source(exchange), {})
    assert collected.gaps == []
    assert opens(collected.rows) == hours_between(NEWEST - timedelta(days=DAYS), NEWEST)


def test_a_late_correction_is_caught_by_the_overlap(market: Market) -> None:
    marks: dict[str, int] = {}
    with running(market, corrected=1.0) as exchange:
        wrong = collect(a_source(exchange, symbols=("BTC/USDT",)), marks).rows.tail(3)
        right = collect(a_source(exchange, symbols=("BTC/USDT",)), marks).rows
    expected = truth(market, "BTC/USDT", NEWEST - timedelta(hours=2), NEWEST)
    assert wrong["close"].to_list() != pytest.approx(expected["close"].to_list(), rel=1e-6)
    assert_frame_equal(right, expected)


@given(there=st.sets(st.integers(0, 40), min_size=1), before=st.none() | st.integers(0, 40), phase=st.integers(0, 9))
def test_missing_steps_are_those_after_the_newest_known_candle_that_did_not_come(
    there: set[int], before: int | None, phase: int
) -> None:
    times = [phase + n * HOUR_MS for n in sorted(there)]
    series = _Series("BTC/USDT", times[0], before=None if before is None else phase + before * HOUR_MS)
    first = min(there) if before is None else before
    expected = [phase + n * HOUR_MS for n in range(first, max(there)) if n > first and n not in there]
    assert [at for a, b in series.missing(times, HOUR_MS) for at in range(a, b + 1, HOUR_MS)] == expected


def test_an_overlap_that_reaches_before_the_listing_is_no_gap(market: Market) -> None:
    marks: dict[str, int] = {}
    young = {"symbols": ("SOL/USDT",), "overlap": 10}
    for hour in (2, 3):
        with running(market, at=datetime(2024, 2, 20, hour, tzinfo=UTC)) as exchange:
            collected = collect(a_source(exchange, **young), marks)
        assert collected.gaps == []
        assert collected.rows.height == hour


# --- trouble ---------------------------------------------------------------------------------------------------------


def brief(exchange: SimulatedExchange, waits: Waits, **changes: Any) -> ExchangeSource:
    """One page of one symbol."""
    return a_source(exchange, waits, symbols=("BTC/USDT",), history=timedelta(days=2), **changes)


@pytest.mark.parametrize("fault", ["too many requests", "banned"])
def test_retry_after_is_waited_for(market: Market, fault: str) -> None:
    waits = Waits()
    with running(market, first=(fault,), retry_after_s=37) as exchange:
        assert len(collect(brief(exchange, waits), {}).rows) == 49
    assert 37 <= waits.now_s < 39


@pytest.mark.parametrize("fault", ["server error", "reset", "nonsense"])
def test_what_passes_is_tried_again_after_longer_and_longer_waits(market: Market, fault: str) -> None:
    waits = Waits()
    with running(market, first=(fault, fault, fault)) as exchange:
        assert len(collect(brief(exchange, waits), {}).rows) == 49
        assert len(exchange.candle_requests()) == 4
    assert 1 + 2 + 4 <= waits.now_s < 9


def test_an_exchange_that_stays_away_is_given_up_after_a_bounded_number_of_tries(market: Market) -> None:
    waits = Waits()
    with running(market, server_error=1.0) as exchange:
        with pytest.raises(SourceUnavailable) as failed:
            collect(brief(exchange, waits), {})
        assert len(exchange.candle_requests()) == TRIES
    assert f"binance did not send candles of BTC/USDT after {TRIES} tries: HTTP 503" in failed.value.what
    assert failed.value.where == "exchange binance at 127.0.0.1"
    assert "goes on where it stopped" in failed.value.do
    assert waits.now_s < 60


def test_pages_before_the_failure_were_handed_over(market: Market) -> None:
    marks: dict[str, int] = {}
    with running(market, first=(None, None, *["server error"] * TRIES)) as exchange:
        with pytest.raises(SourceUnavailable):
            collect(a_source(exchange), marks)
        assert len(marks) == 1
        assert collect(a_source(exchange, overlap=0), marks).rows.height == 401 + 2401


def test_a_pause_of_hours_is_not_slept_through(market: Market) -> None:
    waits = Waits()
    with running(market, banned=1.0, retry_after_s=7200) as exchange:
        with pytest.raises(SourceUnavailable, match="a pause of 7200 s") as failed:
            collect(brief(exchange, waits), {})
        assert len(exchange.candle_requests()) == 1
    assert "HTTP 418" in failed.value.what
    assert waits.now_s < 2


def test_nobody_listening_is_told_as_such(market: Market) -> None:
    with running(market) as exchange:
        pass
    with pytest.raises(SourceUnavailable, match="did not list its markets after 6 tries: NetworkError"):
        collect(brief(exchange, Waits()), {})


def test_a_password_in_the_url_is_in_no_error(market: Market) -> None:
    with running(market, server_error=1.0) as exchange:
        url = exchange.url.replace("http://", "http://me:hunter2@")
        with pytest.raises(SourceUnavailable) as failed:
            collect(brief(exchange, Waits(), url=url), {})
    assert "hunter2" not in str(failed.value)
    assert failed.value.__suppress_context__


def test_all_lanes_together_get_everything_from_an_exchange_in_trouble(market: Market) -> None:
    faults = {"too_many": 0.1, "server_error": 0.1, "reset": 0.1, "nonsense": 0.1, "late": 0.01, "slow": 0.2}
    with running(market, **faults) as exchange:
        rows = collect(a_source(exchange, lanes=4), {}).rows
    first = NEWEST - timedelta(days=DAYS)
    assert_frame_equal(rows, pl.concat(truth(market, symbol, first, NEWEST) for symbol in SYMBOLS))


# --- refused before anything is fetched ------------------------------------------------------------------------------


def test_one_unknown_symbol_is_refused_before_anything_is_fetched(market: Market) -> None:
    with running(market) as exchange:
        with pytest.raises(NotFound, match="did you mean 'ETH/USDT'"):
            collect(a_source(exchange, symbols=("BTC/USDT", "ETH/USDTT")), {})
        assert exchange.candle_requests() == []


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"exchange": "binanse"}, "did you mean 'binance'"),
        ({"timeframe": "1hr"}, "did you mean '1h'"),
        ({"timeframe": "1M"}, "no candles of '1M'"),
        ({"exchange": "bitflyer"}, "publishes no candles"),
    ],
)
def test_wrong_settings_are_refused_with_a_hint(wrong: dict[str, str], says: str) -> None:
    settings = words.ExchangeSource(kind="exchange", **{"exchange": "binance", "symbols": SYMBOLS, **wrong})
    with pytest.raises(SettingsError, match=says) as refused:
        ExchangeSource(settings, name="coins")
    assert refused.value.where == "[sources.coins]"


# --- the pace --------------------------------------------------------------------------------------------------------


def test_requests_wait_for_their_turn_and_for_a_pause() -> None:
    waits = Waits()
    pace = Pace(waits.sleep, waits.timer)
    turns = []
    for _ in range(3):
        pace.wait(0.5)
        turns.append(waits.now_s)
    pace.pause(10)
    pace.wait(0.5)
    assert turns == [0, 0.5, 1]
    assert waits.now_s == pytest.approx(11)


def test_threads_share_one_pace(market: Market) -> None:
    waits = Waits()
    with running(market) as exchange:
        collect(a_source(exchange, waits, lanes=4), {})
    assert waits.now_s >= 0.2 + 0.01 + 5 * 0.02  # ccxt's costs of the markets, the time and all pages but the last


# --- another exchange: what Kraken once answered, through ccxt's own parser ------------------------------------------


@contextmanager
def recorded(replies: Mapping[str, Any]) -> Iterator[str]:
    """Serve fixed JSON by path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(replies[urlsplit(self.path).path]).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_an_exchange_that_always_sends_its_newest_candles_is_read_in_a_few_requests(real_data: Path) -> None:
    candles = json.loads((real_data / "api_samples/kraken/xchange_example-ohlc-data.json").read_text())
    sent = candles["result"]["XXBTZUSD"]
    newest = sent[-1][0]
    pair = {"altname": "XBTUSD", "wsname": "XBT/USD", "base": "XXBT", "quote": "ZUSD", "status": "online"}
    replies = {
        "/0/public/AssetPairs": {"error": [], "result": {"XXBTZUSD": pair}},
        "/0/public/Time": {"error": [], "result": {"unixtime": newest + 30}},  # the last candle is still open
        "/0/public/OHLC": candles,
    }
    with recorded(replies) as url:
        settings = words.ExchangeSource(
            kind="exchange", exchange="kraken", symbols=("BTC/USD",), timeframe="1m", history=timedelta(days=9), url=url
        )
        waits = Waits()
        source = ExchangeSource(settings, name="kraken", sleep=waits.sleep, timer=waits.timer, lanes=2)
        collected = collect(source, {})
    rows = collected.rows
    assert [int(at.timestamp()) for at in rows["ds"]] == [row[0] for row in sent if row[0] < newest]
    assert rows["close"].to_list() == [float(row[4]) for row in sent if row[0] < newest]
    assert waits.now_s < 10  # not a second for each of the 18 pages of nine days
