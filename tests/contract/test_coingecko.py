"""What the CoinGecko source promises, against a simulated CoinGecko and the real book of calls."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.simulated_coingecko import KEY, candle, price, simulated_coingecko, volume

from springtide.domain.errors import BadRows, CallsUsedUp, NotFound, SettingsError, SourceUnavailable
from springtide.registry.blobs import Blobs
from springtide.registry.database import open_database
from springtide.registry.migrate import migrate
from springtide.registry.registry import Registry
from springtide.settings import words
from springtide.sources.coingecko.source import CoinGeckoSource
from springtide.sources.patience import TRIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulated_coingecko import CoinGecko

    from springtide.sources.seam import Batch

NOW = datetime(2024, 3, 1, 10, 20, tzinfo=UTC)
TEN = datetime(2024, 3, 1, 10, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Waits:
    """A timer that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def timer(self) -> float:
        return self.now_s


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("registry")
    migrate(f"sqlite:///{folder}/springtide.db")
    engine = open_database(f"sqlite:///{folder}/springtide.db")
    yield Registry(engine, Blobs(str(folder)))
    engine.dispose()


@pytest.fixture
def ledger(databases: Registry, request: pytest.FixtureRequest) -> Ledger:
    """The real book of calls, with a page of its own for each test."""
    return Ledger(databases, request.node.nodeid)


class Ledger:
    def __init__(self, registry: Registry, page: str) -> None:
        self.registry, self.page = registry, page

    def spend_call(self, provider: str, period: str, *, limit: int) -> int | None:
        return self.registry.spend_call(f"{self.page} {provider}", period, limit=limit)

    def spent(self, period: str = "2024-03") -> int:
        """How many calls were counted; counts none itself."""
        left = self.registry.spend_call(f"{self.page} CoinGecko demo", period, limit=10**9)
        assert left is not None
        return 10**9 - left - 1


def a_source(
    gecko: CoinGecko, ledger: Ledger, *, waits: Waits | None = None, now: datetime | None = None, **changes: Any
) -> CoinGeckoSource:
    waits = waits or Waits()
    return CoinGeckoSource(
        words.CoinGeckoSource(kind="coingecko", **{"coins": {"BTC/USD": "bitcoin"}, "url": gecko.url, **changes}),
        name="gecko",
        ledger=ledger,
        now=gecko.clock if now is None else lambda: now,
        sleep=waits.sleep,
        timer=waits.timer,
        jitter=lambda: 1.0,
    )


def collect(
    source: CoinGeckoSource, marks: dict[str, int], *, batches: int | None = None, into: list[Batch] | None = None
) -> list[Batch]:
    """Take that many batches with rows (all when not given), store the marks of each, and walk away."""
    taken = [] if into is None else into
    stream = source.batches(marks.get)
    for batch in stream:
        taken.append(batch)
        marks.update(batch.marks)
        if batches is not None and len(with_rows(taken)) == batches:
            break
    stream.close()  # type: ignore[attr-defined] # a generator, as every source's is
    return taken


def with_rows(batches: list[Batch]) -> list[Batch]:
    return [batch for batch in batches if not batch.rows.is_empty()]


def rows_of(batches: list[Batch]) -> pl.DataFrame:
    return pl.concat([batch.rows for batch in with_rows(batches)])


def notes_of(batches: list[Batch]) -> str:
    return "\n".join(batch.note for batch in batches if batch.note)


def times(first: datetime, last: datetime, step: timedelta) -> list[datetime]:
    return [first + n * step for n in range((last - first) // step + 1)]


def routes(gecko: CoinGecko) -> list[tuple[str, str | None]]:
    return [(path.split("/", 3)[3], query.get("days")) for path, query in gecko.asked]


# --- prices ----------------------------------------------------------------------------------------------------------


def test_the_first_call_brings_a_year_of_hours_in_five_calls(ledger: Ledger) -> None:
    with simulated_coingecko(NOW) as gecko:
        batches = collect(a_source(gecko, ledger), {})
        assert routes(gecko) == [("market_chart/range", None)] * 4 + [("market_chart", "9")]
    rows = rows_of(batches)
    assert rows.columns == ["unique_id", "ds", "y", "market_cap", "total_volume"]
    assert rows["unique_id"].unique().to_list() == ["BTC/USD"]
    assert rows["ds"].to_list() == times(TEN - timedelta(days=365) + 2 * HOUR, TEN, HOUR)
    assert "5 calls, 9,995 of 10,000 left" in notes_of(batches)
    assert ledger.spent() == 5


def test_a_price_is_the_one_that_coingecko_took_nearest_to_the_step(ledger: Ledger) -> None:
    with simulated_coingecko(NOW) as gecko:
        rows = rows_of(collect(a_source(gecko, ledger, history=DAY), {}))
    for at, y, cap, traded in rows.select("ds", "y", "market_cap", "total_volume").iter_rows():
        taken = [at.timestamp() + wait for wait in range(110, 133)]
        assert y in [price("bitcoin", moment) for moment in taken]
        assert (cap / y, traded) == (pytest.approx(1000), pytest.approx(volume(taken[0]), rel=1e-3))


def test_the_price_of_the_moment_of_asking_is_never_stored(ledger: Ledger) -> None:
    for now in (TEN, TEN + timedelta(seconds=1), TEN + timedelta(minutes=10), TEN + timedelta(minutes=59)):
        with simulated_coingecko(now) as gecko:
            rows = rows_of(collect(a_source(gecko, ledger, history=DAY), {}))
        assert price("bitcoin", now.timestamp()) not in rows["y"].to_list()
        assert rows["ds"].max() == (TEN if now > TEN + timedelta(minutes=2) else TEN - HOUR)


def test_daily_prices_are_those_of_midnight_in_one_call(ledger: Ledger) -> None:
    with simulated_coingecko(NOW) as gecko:
        rows = rows_of(collect(a_source(gecko, ledger, timeframe="1d"), {}))
        assert gecko.asked == [
            ("/coins/bitcoin/market_chart", {"vs_currency": "usd", "interval": "daily", "days": "365"})
        ]
    midnight = datetime(2024, 3, 1, tzinfo=UTC)
    assert rows["ds"].to_list() == times(midnight - timedelta(days=364), midnight, DAY)
    assert rows["y"].to_list() == [price("bitcoin", at.timestamp()) for at in rows["ds"]]


def test_columns_beside_the_price_may_be_left_out_to_go_on_where_an_export_ends(ledger: Ledger) -> None:
    with simulated_coingecko(NOW) as gecko:
        rows = rows_of(collect(a_source(gecko, ledger, timeframe="1d", also=()), {}))
    assert rows.columns == ["unique_id", "ds", "y"]


def test_listed_coins_give_their_ids_to_their_series(ledger: Ledger) -> None:
    with simulated_coingecko(NOW, "bitcoin", "ethereum") as gecko:
        rows = rows_of(collect(a_source(gecko, ledger, coins=["bitcoin", "ethereum"], history=DAY), {}))
    assert rows["unique_id"].unique(maintain_order=True).to_list() == ["bitcoin", "ethereum"]


def test_a_coin_listed_later_begins_there_without_a_gap(ledger: Ledger) -> None:
    listed = datetime(2024, 2, 20, 5, tzinfo=UTC)
    with simulated_coingecko(NOW, listed={"young": listed}) as gecko:
        batches = collect(a_source(gecko, ledger, coins=["young"]), {})
    assert rows_of(batches)["ds"].to_list() == times(listed, TEN, HOUR)
    assert [gap for batch in batches for gap in batch.gaps] == []


def test_a_plan_that_pays_reaches_further_back_with_the_other_key(ledger: Ledger) -> None:
    with simulated_coingecko(NOW, key=KEY, paid=True) as gecko:
        paid = {"plan": "pro", "key": KEY, "timeframe": "1d", "history": timedelta(days=2000)}
        batches = collect(a_source(gecko, ledger, **paid), {})
        assert gecko.keys == [{"x-cg-pro-api-key": KEY}]
    assert rows_of(batches).height == 2000
    assert "not available" not in notes_of(batches)


# --- candles ---------------------------------------------------------------------------------------------------------


def test_candles_are_stamped_with_their_open_time_and_the_open_one_is_left_out(ledger: Ledger) -> None:
    wanted = {"route": "ohlc", "timeframe": "4h", "history": timedelta(days=5)}
    with simulated_coingecko(NOW) as gecko:
        batches = collect(a_source(gecko, ledger, **wanted), {})
        assert routes(gecko) == [("ohlc", "7")]
    rows = rows_of(batches)
    newest = datetime(2024, 3, 1, 4, tzinfo=UTC)  # closed at 8; the one of 8 closes at 12
    assert rows["ds"].to_list() == times(datetime(2024, 2, 25, 12, tzinfo=UTC), newest, 4 * HOUR)
    for at, *values in rows.select("ds", "open", "high", "low", "close").iter_rows():
        assert values == candle("bitcoin", at.timestamp(), 14_400)
    assert rows["volume"].unique().to_list() == [0.0]
    assert "no volume of 4h candles: 0" in notes_of(batches)


@pytest.mark.parametrize(("days", "asked"), [(1, "7"), (7, "7"), (13, "14"), (20, "30"), (300, "30")])
def test_candles_are_asked_for_with_the_shortest_span_that_covers_them(ledger: Ledger, days: int, asked: str) -> None:
    with simulated_coingecko(NOW) as gecko:
        collect(a_source(gecko, ledger, route="ohlc", timeframe="4h", history=timedelta(days=days)), {})
        assert routes(gecko) == [("ohlc", asked)]


def test_the_volume_of_a_day_is_what_was_traded_in_the_24_hours_up_to_its_close(ledger: Ledger) -> None:
    wanted = {"route": "ohlc", "timeframe": "1d", "history": timedelta(days=30), "plan": "pro", "key": KEY}
    with simulated_coingecko(NOW, paid=True) as gecko:
        rows = rows_of(collect(a_source(gecko, ledger, **wanted), {}))
        assert routes(gecko) == [("ohlc", "30"), ("market_chart", "30")]
    assert rows.columns == ["unique_id", "ds", "open", "high", "low", "close", "volume"]
    assert rows["volume"].to_list() == [volume((at + DAY).timestamp()) for at in rows["ds"]]


# --- what is new -----------------------------------------------------------------------------------------------------


def test_a_second_call_brings_what_is_new_and_the_overlap(ledger: Ledger) -> None:
    marks: dict[str, int] = {}
    with simulated_coingecko(NOW) as gecko:
        collect(a_source(gecko, ledger), marks)
    with simulated_coingecko(NOW + 5 * HOUR) as gecko:
        batches = collect(a_source(gecko, ledger), marks)
        assert routes(gecko) == [("market_chart", "2")]
    assert rows_of(batches)["ds"].to_list() == times(TEN - 2 * HOUR, TEN + 5 * HOUR, HOUR)


@pytest.mark.parametrize("wanted", [{}, {"route": "ohlc", "timeframe": "4h"}, {"timeframe": "1d"}])
def test_no_call_is_made_before_something_new_can_have_closed(ledger: Ledger, wanted: dict[str, str]) -> None:
    marks: dict[str, int] = {}
    with simulated_coingecko(NOW) as gecko:
        collect(a_source(gecko, ledger, **wanted), marks)
        asked = len(gecko.asked)
        assert collect(a_source(gecko, ledger, now=NOW + timedelta(minutes=30), **wanted), marks) == []
        assert len(gecko.asked) == asked


@pytest.mark.parametrize("stored", range(4))
def test_a_history_stopped_after_any_call_goes_on_there(ledger: Ledger, stored: int) -> None:
    marks: dict[str, int] = {}
    with simulated_coingecko(NOW) as gecko:
        wanted = {"overlap": 0, "history": 200 * DAY}
        before = collect(a_source(gecko, ledger, **wanted), marks, batches=stored) if stored else []
        after = collect(a_source(gecko, ledger, **wanted), marks)
        assert len(gecko.asked) == 3
    assert rows_of(before + after)["ds"].to_list() == times(TEN - 200 * DAY + HOUR, TEN, HOUR)


def test_many_small_calls_store_what_one_large_call_stores(ledger: Ledger) -> None:
    marks: dict[str, int] = {}
    stored: dict[datetime, float] = {}
    for hours in (0, 0.1, 1, 1.4, 7, 30, 31, 200):
        with simulated_coingecko(NOW + hours * HOUR) as gecko:
            batches = collect(a_source(gecko, ledger, history=DAY), marks)
        for batch in with_rows(batches):
            stored |= dict(batch.rows.select("ds", "y").iter_rows())
    with simulated_coingecko(NOW + 200 * HOUR) as gecko:
        once = rows_of(collect(a_source(gecko, ledger, history=DAY + 200 * HOUR), {}))
    assert sorted(stored.items()) == list(once.select("ds", "y").iter_rows())


def test_the_progress_goes_from_coin_to_coin_up_to_one(ledger: Ledger) -> None:
    with simulated_coingecko(NOW, "a", "b") as gecko:
        source = a_source(gecko, ledger, coins=["a", "b"], history=100 * DAY)
        done = [batch.done for batch in collect(source, {})]
    assert done == sorted(done)
    assert [round(share, 2) for share in done if share in (0.5, 1.0)] == [0.5, 1.0, 1.0]


def test_what_the_plan_does_not_reach_is_said(ledger: Ledger) -> None:
    with simulated_coingecko(NOW) as gecko:
        batches = collect(a_source(gecko, ledger, history=timedelta(days=800), timeframe="1d"), {})
    assert "rows from 2021-12-23 to 2023-03-03 are not available" in notes_of(batches)
    assert "market_chart of 1d reaches back 365 days on the demo plan" in notes_of(batches)
    with simulated_coingecko(NOW) as gecko:
        batches = collect(a_source(gecko, ledger, route="ohlc", timeframe="30m"), {})
    assert "ohlc of 30m reaches back 1 day on the demo plan" in notes_of(batches)
    assert rows_of(batches).height == 47


def test_after_a_long_absence_the_lost_rows_are_a_gap_and_said(ledger: Ledger) -> None:
    marks: dict[str, int] = {}
    wanted = {"route": "ohlc", "timeframe": "30m"}
    with simulated_coingecko(NOW) as gecko:
        collect(a_source(gecko, ledger, **wanted), marks)
    with simulated_coingecko(NOW + 3 * DAY) as gecko:
        batches = collect(a_source(gecko, ledger, **wanted), marks)
    (gap,) = [gap for batch in batches for gap in batch.gaps]
    assert gap.first == datetime(2024, 3, 1, 10, tzinfo=UTC)
    assert gap.last + timedelta(minutes=30) == rows_of(batches)["ds"].min()
    assert "rows from 2024-03-01 to 2024-03-03 are not available" in notes_of(batches)


# --- the budget ------------------------------------------------------------------------------------------------------


def test_when_the_calls_are_used_up_what_came_stays_and_the_next_month_goes_on(ledger: Ledger) -> None:
    marks: dict[str, int] = {}
    stored: list[Batch] = []
    with simulated_coingecko(NOW) as gecko:
        source = a_source(gecko, ledger, calls_per_month=3, overlap=0)
        with pytest.raises(CallsUsedUp) as refused:
            collect(source, marks, into=stored)
        assert len(gecko.asked) == 3
        assert refused.value.what == "no call to CoinGecko demo is left of the 3 of 2024-03"
        assert refused.value.where == "calls_per_month in [sources.gecko]"
        assert "after 2024-04-01 00:00 UTC" in refused.value.do
        with pytest.raises(CallsUsedUp):
            collect(a_source(gecko, ledger, calls_per_month=3), marks)
        assert len(gecko.asked) == 3
    april = datetime(2024, 4, 1, 0, 30, tzinfo=UTC)
    with simulated_coingecko(april) as gecko:
        stored += collect(a_source(gecko, ledger, calls_per_month=3, overlap=0), marks)
    expected = times(TEN - timedelta(days=365) + 2 * HOUR, datetime(2024, 4, 1, tzinfo=UTC), HOUR)
    assert rows_of(stored)["ds"].to_list() == expected


def test_two_sources_of_one_plan_share_the_calls(ledger: Ledger) -> None:
    with simulated_coingecko(NOW, "bitcoin", "ethereum") as gecko:
        collect(a_source(gecko, ledger, calls_per_month=2, timeframe="1d"), {})
        collect(a_source(gecko, ledger, calls_per_month=2, timeframe="1d", coins=["ethereum"]), {})
        with pytest.raises(CallsUsedUp):
            collect(a_source(gecko, ledger, calls_per_month=2, timeframe="1d"), {})


def test_every_try_is_counted_before_it_is_sent(ledger: Ledger) -> None:
    with simulated_coingecko(NOW, faults=("error", "reset", "page")) as gecko:
        batches = collect(a_source(gecko, ledger, timeframe="1d"), {})
        assert len(gecko.asked) == 4
    assert "4 calls, 9,996 of 10,000 left" in notes_of(batches)
    assert ledger.spent() == 4


def test_a_call_to_nobody_is_counted_too(ledger: Ledger) -> None:
    with simulated_coingecko(NOW) as gecko:
        pass
    with pytest.raises(SourceUnavailable, match=f"after {TRIES} tries: no connection"):
        collect(a_source(gecko, ledger), {})
    assert ledger.spent() == TRIES


def test_calls_keep_to_the_allowance_of_a_minute(ledger: Ledger) -> None:
    waits = Waits()
    with simulated_coingecko(NOW) as gecko:
        collect(a_source(gecko, ledger, waits=waits, calls_per_minute=30), {})
    assert waits.now_s == pytest.approx(4 * 2)


# --- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["too many", "too many in the body", "error", "reset", "cut", "page"])
def test_what_passes_is_tried_again_and_nothing_is_lost(ledger: Ledger, fault: Any) -> None:
    two_calls = {"history": timedelta(days=100)}
    with simulated_coingecko(NOW) as gecko:
        truth = rows_of(collect(a_source(gecko, ledger, **two_calls), {}))
    with simulated_coingecko(NOW, faults=(None, fault, fault)) as gecko:
        assert_frame_equal(rows_of(collect(a_source(gecko, ledger, **two_calls), {})), truth)
        assert len(gecko.asked) == 2 + 2


@pytest.mark.parametrize(
    ("retry_after", "waited_s"), [("7", 7), (None, 5), ("Fri, 01 Mar 2024 10:20:40 GMT", 40), ("soon", 5)]
)
def test_it_waits_as_long_as_it_is_asked_to(ledger: Ledger, retry_after: str | None, waited_s: float) -> None:
    waits = Waits()
    with simulated_coingecko(NOW, faults=("too many",), retry_after=retry_after) as gecko:
        collect(a_source(gecko, ledger, waits=waits, timeframe="1d"), {})
    assert waits.now_s == pytest.approx(waited_s)


def test_a_pause_that_is_too_long_to_wait_for_is_told_without_another_call(ledger: Ledger) -> None:
    with simulated_coingecko(NOW, faults=("too many",), retry_after="3600") as gecko:
        with pytest.raises(SourceUnavailable) as failed:
            collect(a_source(gecko, ledger), {})
        assert len(gecko.asked) == 1
    assert "after 1 try: HTTP 429, You've exceeded the Rate Limit." in failed.value.what
    assert failed.value.do.startswith("it asked for a pause of 3600 s; try again later")


def test_it_gives_up_after_some_tries_and_says_what_it_got(ledger: Ledger) -> None:
    with simulated_coingecko(NOW, faults=("page",) * TRIES) as gecko:
        with pytest.raises(SourceUnavailable, match="HTTP 200, a page for people instead of data"):
            collect(a_source(gecko, ledger), {})
        assert len(gecko.asked) == TRIES


def test_a_redirect_is_not_followed_with_the_key(ledger: Ledger) -> None:
    with (
        simulated_coingecko(NOW, faults=("elsewhere",)) as gecko,
        pytest.raises(SourceUnavailable, match="after 1 try: HTTP 302"),
    ):
        collect(a_source(gecko, ledger, key=KEY), {})


def test_an_empty_page_of_history_is_asked_for_once_more(ledger: Ledger) -> None:
    with simulated_coingecko(NOW, faults=("empty",)) as gecko:
        rows = rows_of(collect(a_source(gecko, ledger), {}))
        assert len(gecko.asked) == 6
    assert rows["ds"].min() == TEN - timedelta(days=365) + 2 * HOUR


@pytest.mark.parametrize("wanted", [{"timeframe": "1d"}, {"route": "ohlc", "timeframe": "4h"}])
def test_an_answer_without_rows_stores_nothing_and_the_next_call_asks_again(
    ledger: Ledger, wanted: dict[str, str]
) -> None:
    marks: dict[str, int] = {}
    with simulated_coingecko(NOW, faults=("empty",)) as gecko:
        batches = collect(a_source(gecko, ledger, **wanted), marks)
        assert (with_rows(batches), marks) == ([], {})
        assert "no closed rows of BTC/USD" in notes_of(batches)
        assert rows_of(collect(a_source(gecko, ledger, **wanted), marks)).height > 100


def test_an_unknown_coin_is_named_and_those_before_it_stay(ledger: Ledger) -> None:
    stored: list[Batch] = []
    with simulated_coingecko(NOW, "bitcoin", "ethereum") as gecko:
        source = a_source(gecko, ledger, coins=["bitcoin", "BTC", "ethereum"], history=DAY)
        with pytest.raises(NotFound, match="CoinGecko has no coin 'BTC'") as missing:
            collect(source, {}, into=stored)
        assert len(gecko.asked) == 2
    assert rows_of(stored)["unique_id"].unique().to_list() == ["bitcoin"]
    assert "[sources.gecko]" in missing.value.where


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({}, r"not a list 'prices' of \[time, value\], but an object of price"),
        ({"route": "ohlc", "timeframe": "4h"}, r"not a list of \[time, open, high, low, close\]"),
    ],
)
def test_a_reply_of_another_shape_is_refused_at_once(ledger: Ledger, wanted: dict[str, str], says: str) -> None:
    with simulated_coingecko(NOW, faults=("changed",)) as gecko:
        with pytest.raises(BadRows, match=says):
            collect(a_source(gecko, ledger, **wanted), {})
        assert len(gecko.asked) == 1


@pytest.mark.parametrize("wanted", [{"timeframe": "1d"}, {"route": "ohlc", "timeframe": "4h"}])
def test_a_row_that_comes_twice_counts_once_and_with_two_values_is_refused(
    ledger: Ledger, wanted: dict[str, str]
) -> None:
    with simulated_coingecko(NOW) as gecko:
        truth = rows_of(collect(a_source(gecko, ledger, **wanted), {}))
    with simulated_coingecko(NOW, faults=("twice",)) as gecko:
        assert_frame_equal(rows_of(collect(a_source(gecko, ledger, **wanted), {})), truth)
    with simulated_coingecko(NOW, faults=("clash",)) as gecko, pytest.raises(BadRows, match="different values"):
        collect(a_source(gecko, ledger, **wanted), {})


def test_a_clock_that_is_days_behind_asks_for_no_more_than_the_plan_reaches(ledger: Ledger) -> None:
    with simulated_coingecko(NOW + timedelta(minutes=30)) as gecko:
        collect(a_source(gecko, ledger, now=NOW), {})  # not refused, though time went on


# --- the key ---------------------------------------------------------------------------------------------------------


def test_the_key_goes_in_the_header_of_the_plan_and_nowhere_else(ledger: Ledger) -> None:
    with simulated_coingecko(NOW, key=KEY) as gecko:
        collect(a_source(gecko, ledger, key=KEY, timeframe="1d"), {})
        assert gecko.keys == [{"x-cg-demo-api-key": KEY}]
        assert KEY not in str(gecko.asked)


def test_a_refused_key_is_in_no_error_even_when_coingecko_repeats_it(ledger: Ledger) -> None:
    with simulated_coingecko(NOW, key="CG-other") as gecko:
        source = a_source(gecko, ledger, key=KEY)
        with pytest.raises(SettingsError, match=r"HTTP 401, API Key Missing: .*\*\*\*") as refused:
            collect(source, {})
        assert len(gecko.asked) == 1
    assert "check key and plan" in refused.value.do
    assert KEY not in f"{refused.value!r} {refused.value}"


# --- settings that are refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"timeframe": "5m"}, "market_chart has no rows of '5m' on the demo plan"),
        ({"route": "ohlc"}, "ohlc has no rows of '1h' on the demo plan.*(\n.*)*known: 30m, 4h"),
        ({"route": "ohlc", "timeframe": "4d", "plan": "pro", "key": KEY}, "no rows of '4d' on the pro plan"),
        ({"plan": "pro"}, "a paid plan needs its key(\n.*)*SPRINGTIDE_SOURCES__GECKO__KEY"),
        ({"url": "ftp://example.org"}, "the URL has no host"),
        ({"url": "https://ann:hunter2@example.org"}, "holds a name and a password"),
    ],
)
def test_wrong_settings_are_refused_before_a_call_is_made(ledger: Ledger, wrong: dict[str, str], says: str) -> None:
    settings = words.CoinGeckoSource(kind="coingecko", coins=["bitcoin"], **wrong)
    with pytest.raises(SettingsError, match=says) as refused:
        CoinGeckoSource(settings, name="gecko", ledger=ledger)
    assert "[sources.gecko]" in refused.value.where
    assert "hunter2" not in str(refused.value)
    assert ledger.spent() == 0
