from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from springtide.sources.files.times import read_times

# Every whole minute from 1980 to 2090.
MINUTES = st.integers(5_260_000, 63_100_000).map(lambda minutes: datetime.fromtimestamp(60 * minutes, tz=UTC))
OFFSETS = st.integers(-14 * 4, 14 * 4).map(lambda quarters: timezone(timedelta(minutes=15 * quarters)))


def spellings(time: datetime, zone: timezone) -> list[str]:
    """One moment as different files write it."""
    local = time.astimezone(zone)
    epoch = int(time.timestamp())
    return [
        f"{time:%Y-%m-%d %H:%M:%S}",
        f"{time:%Y-%m-%dT%H:%M:%SZ}",
        f"{time:%Y-%m-%d %H:%M:%S} UTC",
        f"{time:%Y-%m-%d %H:%M}",
        f"{time:%Y/%m/%d %H:%M:%S}",
        f" {time:%Y-%m-%dT%H:%M:%S}.000 ",
        local.isoformat(),
        local.isoformat(" ", "milliseconds"),
        f"{local:%Y-%m-%d %H:%M%z}",
        f"{epoch}",
        f"{epoch}.0",
        f"{epoch}000",
        f"{epoch}000000",
    ]


@settings(deadline=None)
@given(MINUTES, OFFSETS)
def test_one_moment_is_the_same_however_it_is_written_even_mixed_in_one_column(time: datetime, zone: timezone) -> None:
    texts = spellings(time, zone)
    assert read_times(pl.Series(texts)).to_list() == [time] * len(texts)
    for text in texts:
        assert read_times(pl.Series([text])).to_list() == [time]


@settings(deadline=None)
@given(MINUTES, st.sampled_from([1, 10**3, 10**6, 10**9]))
def test_an_epoch_is_read_in_the_unit_its_size_tells(time: datetime, unit: int) -> None:
    assert read_times(pl.Series([int(time.timestamp()) * unit], dtype=pl.Int64)).to_list() == [time]


@pytest.mark.parametrize("text", ["01/02/24", "01-02-2024", "20240102", "7", "-1", "nan", "", "noon", "2024-13-01"])
def test_text_that_could_mean_two_times_or_none_is_no_time(text: str) -> None:
    assert read_times(pl.Series([text])).null_count() == 1


def test_hours_with_am_and_pm_are_read() -> None:
    read = read_times(pl.Series(["2019-10-17 12-AM", "2019-10-17 01-PM"])).to_list()
    assert read == [datetime(2019, 10, 17, 0, tzinfo=UTC), datetime(2019, 10, 17, 13, tzinfo=UTC)]
