from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from tests.synthetic import PAIRS, START, START_S, candles, plain

from springtide.domain.errors import BadRows, NotFound, SpringtideError, TooFewRows
from springtide.tasks.forecast.codec import ForecastCodec

CODEC = ForecastCodec()
SIGNATURE: dict[str, Any] = {
    "model": "btc",
    "kind": "candles",
    "series": list(PAIRS[:2]),
    "step_s": 3600,
    "window": 24,
    "horizon": 3,
    "levels": [0.05, 0.1, 0.5, 0.9, 0.95],
    "intervals": [80, 90],
    "values": "candles",
}
PLAIN = SIGNATURE | {"kind": "plain", "series": ["a", "b"], "values": "values"}
HOURS = 30

Columns = dict[str, np.ndarray]


def columns(kind: str = "candles", hours: int = HOURS) -> Columns:
    rows = candles(hours) if kind == "candles" else plain(hours)
    found = {name: rows[name].to_numpy().copy() for name in rows.columns if name not in ("unique_id", "ds")}
    return found | {
        "unique_id": np.array(rows["unique_id"].to_list(), dtype=np.str_),
        "ds": rows["ds"].dt.epoch("s").to_numpy().copy(),
    }


def lacking(name: str) -> Columns:
    return {key: column for key, column in columns().items() if key != name}


def changed(name: str, row: int, value: float) -> Columns:
    found = columns()
    found[name][row] = value
    return found


MISTAKES: dict[str, tuple[Columns, type[SpringtideError], str, str]] = {
    "no close": (lacking("close"), BadRows, "no column 'close'", "columns"),
    "no time": (lacking("ds"), BadRows, "no column 'ds'", "columns"),
    "no series": (lacking("unique_id"), BadRows, "no column 'unique_id'", "columns"),
    "a close that is no number": (changed("close", 3, np.nan), BadRows, "row 4 holds", "BTC/USDT"),
    "an endless high": (changed("high", 33, np.inf), BadRows, "row 34 holds", "ETH/USDT"),
    "a price of nothing": (changed("low", 0, 0.0), BadRows, "row 1 holds", "BTC/USDT"),
    "a negative price": (changed("open", 0, -1.0), BadRows, "row 1 holds", "BTC/USDT"),
    "a negative volume": (changed("volume", 0, -1.0), BadRows, "row 1 holds", "BTC/USDT"),
    "a doubled row": (changed("ds", 3, START_S + 4 * 3600), BadRows, "2024-01-01 04:00:00 is doubled", "BTC/USDT"),
    "a row off the grid": (changed("ds", 34, START_S + 4 * 3600 + 60), BadRows, "2024-01-01 04:01:00", "ETH/USDT"),
    "too short a series": (columns(hours=23), TooFewRows, "23 rows of BTC/USDT, the model's window needs 24", "btc"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_rows_that_no_window_can_be_cut_from_are_refused_by_row_or_series(mistake: str) -> None:
    rows, error, what, where = MISTAKES[mistake]
    with pytest.raises(error) as refused:
        CODEC.encode(SIGNATURE, rows)
    assert what in refused.value.what
    assert where in refused.value.where
    assert refused.value.do


def test_a_series_without_rows_is_refused_with_those_that_have_some() -> None:
    with pytest.raises(NotFound) as refused:
        CODEC.encode(SIGNATURE, columns(), series=["BTC/USD"])
    assert "'BTC/USD'" in refused.value.what
    assert "did you mean 'BTC/USDT'?" in refused.value.do
    assert refused.value.where == "model btc"


def test_a_short_series_that_nobody_asked_for_is_no_reason_to_refuse() -> None:
    rows = columns()
    keep = (rows["unique_id"] == "BTC/USDT") | (rows["ds"] >= START_S + 20 * 3600)
    encoded = CODEC.encode(SIGNATURE, {name: column[keep] for name, column in rows.items()}, series=["BTC/USDT"])
    assert encoded.inputs["candles"].shape == (1, 24, 5)


def test_volume_may_be_nothing_and_a_plain_value_negative() -> None:
    assert CODEC.encode(SIGNATURE, changed("volume", 29, 0.0)).inputs["candles"][0, -1, 4] == 0
    rows = columns("plain")
    rows["y"][HOURS - 1] = -7.0
    assert CODEC.encode(PLAIN, rows).inputs["values"][0, -1, 0] == -7


def test_windows_come_in_the_order_of_the_series_that_were_asked_for() -> None:
    encoded = CODEC.encode(SIGNATURE, columns(), series=["ETH/USDT", "BTC/USDT"])
    assert encoded.context["series"] == ["ETH/USDT", "BTC/USDT"]
    last = columns()["close"][[2 * HOURS - 1, HOURS - 1]]
    assert encoded.inputs["candles"][:, -1, 3].tolist() == last.tolist()


def test_without_a_wish_every_series_of_the_rows_is_encoded() -> None:
    assert CODEC.encode(PLAIN, columns("plain")).context["series"] == ["a", "b"]


def test_each_series_has_the_cutoff_of_its_own_newest_row() -> None:
    rows = columns()
    keep = (rows["unique_id"] == "BTC/USDT") | (rows["ds"] <= START_S + 25 * 3600)
    encoded = CODEC.encode(SIGNATURE, {name: column[keep] for name, column in rows.items()})
    assert encoded.inputs["cutoff"].tolist() == [START_S + 29 * 3600, START_S + 25 * 3600]


def test_the_answer_is_a_line_a_series_and_step_with_named_intervals() -> None:
    encoded = CODEC.encode(SIGNATURE, columns())
    quantiles = np.arange(2 * 3 * 5, dtype=np.float64).reshape(2, 3, 5)
    answer = CODEC.decode(SIGNATURE, encoded, [quantiles], model="btc")
    assert list(answer) == [
        "unique_id",
        "ds",
        "cutoff",
        "btc",
        "btc-lo-80",
        "btc-hi-80",
        "btc-lo-90",
        "btc-hi-90",
    ]
    cutoff = START + timedelta(hours=HOURS - 1)
    assert answer["unique_id"] == ["BTC/USDT"] * 3 + ["ETH/USDT"] * 3
    assert answer["cutoff"] == [cutoff] * 6
    assert answer["ds"] == [cutoff + timedelta(hours=step) for step in (1, 2, 3)] * 2
    flat = quantiles.reshape(6, 5)
    assert answer["btc"] == flat[:, 2].tolist()
    assert (answer["btc-lo-80"], answer["btc-hi-80"]) == (flat[:, 1].tolist(), flat[:, 3].tolist())
    assert (answer["btc-lo-90"], answer["btc-hi-90"]) == (flat[:, 0].tolist(), flat[:, 4].tolist())


def test_the_times_of_an_answer_are_in_utc() -> None:
    answer = CODEC.decode(PLAIN, CODEC.encode(PLAIN, columns("plain")), [np.zeros((2, 3, 5))], model="m")
    assert answer["cutoff"][0] == datetime(2024, 1, 2, 5, tzinfo=UTC)
    assert answer["ds"][0].tzinfo is UTC


def test_no_rows_at_all_are_refused() -> None:
    with pytest.raises(TooFewRows, match="no rows"):
        CODEC.encode(SIGNATURE, {name: values[:0] for name, values in columns().items()})


def test_a_series_that_ended_long_before_the_others_is_refused_and_they_are_not() -> None:
    found = columns(hours=100)
    ended = PAIRS[0]
    kept = (found["unique_id"] != ended) | (found["ds"] <= found["ds"].max() - 30 * 3600)
    rows = {name: values[kept] for name, values in found.items()}
    with pytest.raises(TooFewRows, match="30 steps older"):
        CODEC.encode(SIGNATURE, rows, series=(ended,))
    assert CODEC.encode(SIGNATURE, rows, series=(PAIRS[1],)).context["series"] == [PAIRS[1]]
