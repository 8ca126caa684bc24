"""What a forecast model is asked under: each fact beside a slow loop over its window."""

from __future__ import annotations

from datetime import timedelta
from math import log, sqrt
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.synthetic import HOUR, JUDGED_FROM, START_S, candles, plain, windows, without

from springtide.tasks.forecast import circumstances
from springtide.tasks.forecast.circumstances import circumstances_of

if TYPE_CHECKING:
    import polars as pl

    from springtide.tasks.seam import Circumstances

WINDOW, SPAN = 24, 23
SEEN = JUDGED_FROM - 5 * HOUR
RECENT = JUDGED_FROM + 3 * HOUR
LAST = 24 * 30 - 1  # hour of the newest row
FIRST_RECENT = int((RECENT.timestamp() - START_S) // 3600)
LAST_SEEN = int((SEEN.timestamp() - START_S) // 3600)


def found(rows: pl.DataFrame, **recipe: object) -> Circumstances:
    return circumstances_of(windows(rows, **recipe), seen_until=SEEN, recent_from=RECENT)


def columns(rows: pl.DataFrame, series: str) -> dict[str, list[float]]:
    return {name: list(column) for name, column in rows.filter(rows["unique_id"] == series).to_dict().items()}


def test_every_fact_of_candles_is_what_a_loop_over_the_window_says() -> None:
    rows = candles()
    facts, mine = found(rows), columns(rows, "ETH/USDT")
    close = mine["close"]
    for hour in (FIRST_RECENT, 600, LAST):
        changes = [log(close[at] / close[at - 1]) for at in range(hour - SPAN + 1, hour + 1)]
        volatility = sqrt(sum(one**2 for one in changes) / SPAN)
        volumes = mine["volume"][hour - WINDOW + 1 : hour + 1]
        slow = {
            "volatility": log(volatility),
            "return": log(close[hour] / close[hour - SPAN]),
            "volume": log(volumes[-1] / (sum(volumes) / WINDOW)),
            "range": log(log(mine["high"][hour] / mine["low"][hour]) / volatility),
        }
        for name, value in slow.items():
            assert facts.recent[f"{name} of ETH/USDT"][hour - FIRST_RECENT] == pytest.approx(value, rel=1e-6, abs=1e-9)


def test_the_reference_is_what_was_seen_and_the_newest_row_is_asked_though_its_outcome_is_not_known() -> None:
    facts = found(candles())
    assert facts.reference.keys() == facts.recent.keys()
    assert len(facts.reference["volatility of BTC/USDT"]) == LAST_SEEN - (WINDOW - 1) + 1
    assert len(facts.recent["volatility of BTC/USDT"]) == LAST - FIRST_RECENT + 1


def test_a_sliding_training_window_slides_the_reference_too() -> None:
    facts = found(candles(), train_period="3d", validation="2d")
    assert len(facts.reference["volatility of BTC/USDT"]) == 5 * 24 + 1


def test_a_plain_series_has_no_volume_and_no_range() -> None:
    assert found(plain()).recent.keys() == {"volatility of a", "volatility of b", "return of a", "return of b"}


def test_features_are_facts_but_the_calendar_is_none() -> None:
    names = found(candles(), features={"indicators": ["rsi"], "calendar": True}).recent.keys()
    extra = {name for name in names if name.endswith("of BTC/USDT")} - {
        f"{name} of BTC/USDT" for name in ("volatility", "return", "volume", "range")
    }
    assert extra
    assert all("rsi" in name for name in extra)


def test_filled_rows_are_no_facts() -> None:
    whole, gappy = found(candles()), found(without(candles(), "BTC/USDT", range(600, 605)))
    lost = len(whole.recent["return of BTC/USDT"]) - len(gappy.recent["return of BTC/USDT"])
    assert lost == 5
    assert len(whole.recent["return of ETH/USDT"]) == len(gappy.recent["return of ETH/USDT"])


def test_a_long_history_is_thinned_alike_in_both_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = found(candles())
    monkeypatch.setattr(circumstances, "MOST_ROWS", 240)
    thin = found(candles())
    name = "volatility of BTC/USDT"
    assert len(thin.reference[name]) == pytest.approx(len(whole.reference[name]) / 3, abs=1)
    assert np.isin(thin.recent[name], whole.recent[name]).all()
    assert timedelta(hours=len(whole.recent[name])) - 3 * timedelta(hours=len(thin.recent[name])) < 3 * HOUR
