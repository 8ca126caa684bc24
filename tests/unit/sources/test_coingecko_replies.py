"""CoinGecko's replies become rows: recorded ones, small ones by hand, and any by a slow obvious way."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.domain.errors import BadRows
from springtide.sources.coingecko.replies import NEAR_MS, candles_from, prices_from, volumes_from

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

HOUR_MS = 3_600_000
DAY_S = 86_400
BEGIN = 1_711_843_200_000  # 2024-03-31 00:00 UTC


def chart(*points: tuple[int, float | None], **lists: Any) -> dict[str, Any]:
    """A market chart with these prices, as offsets from `BEGIN` in ms."""
    prices = [[BEGIN + at, value] for at, value in points]
    caps = [[at, None if value is None else value * 10] for at, value in prices]
    return {"prices": prices, "market_caps": caps, "total_volumes": caps} | lists


def read(body: Any, *, step_s: int = 3600, newest: bool = False, also: tuple[str, ...] = ()) -> pl.DataFrame:
    return prices_from(body, series="BTC/USD", also=also, step_s=step_s, newest=newest, where="a test")[0]


def read_candles(body: Any, *, now_ms: int = 2 * BEGIN) -> pl.DataFrame:
    return candles_from(body, series="BTC/USD", step_s=14_400, now_ms=now_ms, where="a test")


def recorded(real_data: Path, name: str) -> Any:
    """The body below the three lines that say which request it answered."""
    lines = (real_data / "api_samples/coingecko" / name).read_text(encoding="utf-8").splitlines()
    return json.loads("\n".join(lines[3:]))


def hours(rows: pl.DataFrame) -> list[float]:
    return [(at - datetime(2024, 3, 31, tzinfo=UTC)) / timedelta(hours=1) for at in rows["ds"]]


# --- what CoinGecko once sent ----------------------------------------------------------------------------------------


def test_the_recorded_chart_gives_the_two_midnights_and_not_the_moment_of_asking(real_data: Path) -> None:
    body = recorded(real_data, "jkorf_GetMarketChart.txt")
    rows = read(body, step_s=DAY_S, newest=True, also=("market_cap", "total_volume"))
    assert rows.rows() == [
        ("BTC/USD", datetime(2024, 3, 31, tzinfo=UTC), 69702.3087473573, 1370247487960.09, 16408802301.8374),
        ("BTC/USD", datetime(2024, 4, 1, tzinfo=UTC), 71246.9514406015, 1401370211582.37, 19723005998.215),
    ]


def test_the_recorded_candles_open_four_hours_before_their_stamps(real_data: Path) -> None:
    rows = read_candles(recorded(real_data, "jkorf_GetOhlc.txt"))
    assert rows["ds"].to_list() == [datetime(2024, 3, 2, hour, tzinfo=UTC) for hour in (12, 16, 20)]
    assert rows.row(0)[2:] == (61942.0, 62211.0, 61721.0, 61845.0, 0.0)


# --- prices ----------------------------------------------------------------------------------------------------------


def test_seconds_and_minutes_off_the_step_are_put_on_it_and_what_is_far_belongs_to_none() -> None:
    body = chart((-40_000, 1.0), (HOUR_MS + 131_000, 2.0), (2 * HOUR_MS + NEAR_MS + 1, 3.0), (3 * HOUR_MS, 4.0))
    rows, left_out = prices_from(body, series="A", also=(), step_s=3600, newest=False, where="a test")
    assert (hours(rows), rows["y"].to_list(), left_out) == ([0, 1, 3], [1.0, 2.0, 4.0], 1)


def test_of_two_points_for_one_step_the_nearer_counts_and_of_two_as_near_the_earlier() -> None:
    body = chart((-9_000, 1.0), (5_000, 2.0), (HOUR_MS - 7_000, 3.0), (HOUR_MS + 7_000, 4.0), (2 * HOUR_MS, 5.0))
    assert read(body)["y"].to_list() == [2.0, 3.0, 5.0]


def test_a_point_without_a_price_is_left_out_and_one_without_a_market_cap_is_not() -> None:
    body = chart((0, 1.0), (HOUR_MS, None), (2 * HOUR_MS, 3.0), (3 * HOUR_MS, 4.0))
    body["market_caps"][2][1] = None
    rows = read(body, also=("market_cap",))
    assert rows.select("y", "market_cap").rows() == [(1.0, 10.0), (3.0, None), (4.0, 40.0)]


def test_a_list_that_lacks_a_moment_leaves_it_empty_there() -> None:
    body = chart((0, 1.0), (HOUR_MS, 2.0), total_volumes=[[BEGIN, 7]])
    assert read(body, also=("total_volume",))["total_volume"].to_list() == [7.0, None]


def test_points_of_another_step_are_not_taken_for_hours_with_holes() -> None:
    days = chart(*((24 * HOUR_MS * day, 1.0) for day in range(5)))
    with pytest.raises(BadRows, match="mixed timeframes"):
        read(days)


def test_an_empty_chart_gives_no_rows_with_all_columns() -> None:
    for newest in (True, False):
        rows = read(chart(), newest=newest, also=("market_cap", "total_volume"))
        assert (rows.height, rows.columns) == (0, ["unique_id", "ds", "y", "market_cap", "total_volume"])


offsets = st.lists(st.integers(0, 30 * HOUR_MS), unique=True, max_size=40)


@given(offsets)
def test_each_step_has_the_price_that_plain_python_finds_nearest(moments: list[int]) -> None:
    moments = [*moments, 40 * HOUR_MS, 41 * HOUR_MS]  # two an hour apart say how long a step is
    expected: dict[int, int] = {}
    for step in range(42):
        near = sorted((abs(at - step * HOUR_MS), at) for at in moments if abs(at - step * HOUR_MS) <= NEAR_MS)
        if near:
            expected[step] = near[0][1]
    body = chart(*((at, float(at + 1)) for at in sorted(moments)))
    rows = read(body)
    assert dict(zip(hours(rows), rows["y"].to_list(), strict=True)) == {s: at + 1 for s, at in expected.items()}


# --- candles ---------------------------------------------------------------------------------------------------------


def candles(*stamps: int) -> list[list[float]]:
    return [[stamp, 10.0, 12.0, 9.0, 11.0] for stamp in stamps]


def test_a_candle_that_closes_later_than_now_is_left_out() -> None:
    rows = read_candles(candles(BEGIN, BEGIN + 4 * HOUR_MS), now_ms=BEGIN + HOUR_MS)
    assert hours(rows) == [-4]


def test_only_the_last_candle_may_be_stamped_off_the_grid() -> None:
    assert hours(read_candles(candles(BEGIN, BEGIN + 777))) == [-4]
    with pytest.raises(BadRows, match="not on the grid of 14400 s"):
        read_candles(candles(BEGIN + 777, BEGIN + 4 * HOUR_MS))


def test_candles_of_four_days_are_not_taken_for_those_of_four_hours() -> None:
    with pytest.raises(BadRows, match="mixed timeframes"):
        read_candles(candles(*(BEGIN + day * 96 * HOUR_MS for day in range(5))))


def test_the_volume_belongs_to_the_day_that_closes_when_it_was_measured() -> None:
    body = {"total_volumes": [[BEGIN, 5], [BEGIN + 24 * HOUR_MS, None]]}
    assert volumes_from(body, step_s=DAY_S, where="a test").rows() == [(datetime(2024, 3, 30, tzinfo=UTC), 5.0)]


# --- replies of another shape ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "soon",
        {},
        {"price": [[BEGIN, 1.0]]},
        {"prices": {"0": 1.0}},
        {"prices": [[BEGIN, 1.0, 2.0]]},
        {"prices": [[None, 1.0]]},
        {"prices": [[BEGIN, "1.0"]]},
        {"prices": [[float("nan"), 1.0]]},
        {"prices": [[float("inf"), 1.0]]},
        {"prices": [{"at": BEGIN}]},
    ],
)
def test_what_is_no_chart_is_refused_by_name(body: Any) -> None:
    with pytest.raises(BadRows, match="the reply is not a list 'prices'"):
        read(body)


@pytest.mark.parametrize("body", [None, {}, {"prices": []}, [[BEGIN, 1, 2, 3]], [BEGIN], [[BEGIN, "1", 2, 3, 4]]])
def test_what_is_no_list_of_candles_is_refused(body: Any) -> None:
    with pytest.raises(BadRows, match=r"the reply is not a list of \[time, open, high, low, close\]"):
        read_candles(body)


def test_a_price_that_is_not_finite_is_refused() -> None:
    with pytest.raises(BadRows, match="y is not finite"):
        read(chart((0, float("nan"))))
