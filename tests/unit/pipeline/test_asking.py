from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from springtide.pipeline.triggers.asking import MONTH, Rhythm, rhythm_of
from springtide.settings.words import CoinGeckoSource, ExchangeSource, FilesSource, SimulatorSource

if TYPE_CHECKING:
    from pathlib import Path

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def coins(count: int, **keys: Any) -> CoinGeckoSource:
    return CoinGeckoSource(kind="coingecko", coins=tuple(f"coin-{number}" for number in range(count)), **keys)


def calls_a_month(*sources: CoinGeckoSource) -> float:
    rhythms = [rhythm_of(source, sources) for source in sources]
    return sum(len(one.coins) * (MONTH / (rhythm.every or MONTH)) for one, rhythm in zip(sources, rhythms, strict=True))


@pytest.mark.parametrize(("count", "hours"), [(1, 1), (13, 1), (14, 2), (26, 2), (27, 3), (320, 24)])
def test_coins_are_asked_for_as_often_as_the_calls_of_a_month_allow(count: int, hours: int) -> None:
    assert rhythm_of(coins(count), [coins(count)]).every == hours * HOUR
    assert calls_a_month(coins(count)) <= 10_000


def test_sources_of_one_plan_share_its_calls_and_those_of_another_have_their_own() -> None:
    assert calls_a_month(coins(13), coins(13)) <= 10_000
    paid = coins(13, plan="pro")
    assert rhythm_of(paid, [coins(13), paid]).every == HOUR


def test_candles_of_a_day_cost_two_calls_a_coin() -> None:
    daily = coins(20, route="ohlc", timeframe="1d", plan="pro", calls_per_month=620)
    assert rhythm_of(daily, [daily]).every == 2 * DAY


def test_coingecko_is_asked_when_its_caches_have_the_hour_or_the_day() -> None:
    noon = datetime(2024, 1, 1, 12, tzinfo=UTC)
    hourly, daily = coins(1), coins(1, timeframe="1d")
    assert rhythm_of(hourly, [hourly]).after(noon) == noon + timedelta(minutes=16)
    assert rhythm_of(daily, [daily]).after(noon) == datetime(2024, 1, 2, 0, 36, tzinfo=UTC)


def test_a_week_of_candles_closes_on_monday() -> None:
    weekly = ExchangeSource(kind="exchange", exchange="x", symbols=("A",), timeframe="1w")
    assert rhythm_of(weekly, [weekly]).after(datetime(2024, 1, 3, tzinfo=UTC)) == datetime(
        2024, 1, 8, 0, 0, 5, tzinfo=UTC
    )


def test_the_time_after_a_tick_is_the_next_one() -> None:
    rhythm = Rhythm(HOUR, timedelta(seconds=5))
    first = datetime(2024, 1, 1, 12, 0, 5, tzinfo=UTC)
    assert rhythm.after(first) == first + HOUR
    assert rhythm.after(first - timedelta(microseconds=1)) == first


def test_a_source_is_silent_after_three_of_its_steps_or_of_what_it_is_asked_at() -> None:
    plain, rare = SimulatorSource(kind="simulator"), SimulatorSource(kind="simulator", every="1d")
    never = SimulatorSource(kind="simulator", silent_after="off")
    unasked = SimulatorSource(kind="simulator", every="off", silent_after="1h")
    limits = [rhythm_of(source, ()).silent_after for source in (plain, rare, never, unasked)]
    assert limits == [3 * HOUR, 3 * DAY, None, None]


def test_a_folder_is_watched_and_a_file_is_not(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.touch()
    folder, single = (FilesSource(kind="files", path=str(path)) for path in (tmp_path, file))
    assert rhythm_of(folder, ()) == Rhythm(timedelta(seconds=5), watched=tmp_path)
    assert rhythm_of(single, ()).every is None
