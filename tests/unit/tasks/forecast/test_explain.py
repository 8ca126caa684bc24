"""Which groups of inputs a forecast rests on: what is read counts, and what is not read does not."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
import torch
from tests.synthetic import JUDGED_FROM, candles, plain, windows

from springtide.tasks.forecast.explain import cut_inputs, explain_forecaster
from springtide.tasks.forecast.training import WindowTensors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from springtide.tasks.forecast.items import Windows

    Feeds = Mapping[str, NDArray[Any]]

DAY_S = 86_400


@dataclass
class Graph:
    """In place of an exported graph: the last close, with intervals as wide as one number that is read from the inputs."""

    read: Callable[[Feeds], NDArray[np.float64]]
    signature: dict[str, Any] = field(default_factory=lambda: {"doubt_threshold": 30.0})

    @property
    def session(self) -> Graph:
        return self

    def run(self, _names: None, feeds: Feeds) -> list[NDArray[Any]]:
        levels = np.array([-3, -2, -1, 0, 1, 2, 3])
        read = self.read(feeds)
        close = feeds["candles"][:, -1, 3]
        steps = np.sqrt(np.arange(1, 5))
        quantiles = close[:, None, None] * (1 + 0.01 * read[:, None, None] * steps[:, None] * levels)
        return [quantiles, feeds["candles"][:, -1, 4]]


READS: dict[str, Callable[[Feeds], Any]] = {
    "prices": lambda feeds: 20 * np.abs(np.log(feeds["candles"][:, 0, 3] / feeds["candles"][:, -1, 3])),
    "range": lambda feeds: 300 * (feeds["candles"][:, -1, 1] / feeds["candles"][:, -1, [0, 3]].max(axis=1) - 1),
    "volume": lambda feeds: feeds["candles"][:, -1, 4] / 20,
    "market": lambda feeds: 100 * feeds["market"].mean(axis=1),
    "time of day and week": lambda feeds: 0.1 + feeds["cutoff"] % DAY_S / DAY_S,
    "calendar": lambda feeds: 1.5 + feeds["features"][:, 1],
    "indicators": lambda feeds: np.nan_to_num(feeds["features"][:, 0]) / 50,
}


def judged(rows: pl.DataFrame | None = None, **changes: Any) -> Windows:
    """Items with two groups of features."""
    features = {"indicators": ["rsi:12"], "calendar": True}
    return windows(candles() if rows is None else rows, **({"features": features} | changes))


@pytest.fixture(scope="module")
def items() -> Windows:
    return judged()


@pytest.mark.parametrize(
    ("rows", "changes"),
    [
        (candles(), {"features": {"indicators": ["rsi:12"], "calendar": True}}),
        (plain(), {"features": {"calendar": True}}),
        (plain().with_columns(pl.col("y").exp()), {"logarithmic": True}),
    ],
    ids=["candles", "plain", "ratios"],
)
def test_inputs_taken_apart_and_put_together_again_are_the_same(rows: pl.DataFrame, changes: dict[str, Any]) -> None:
    cut = windows(rows, **changes)
    tensors = WindowTensors.of(cut, torch.device("cpu")).inputs(torch.from_numpy(cut.judging))
    names = ["candles", "market", "cutoff"] if cut.panel.kind == "candles" else ["values", "cutoff"]
    given = dict(zip([*names, "features"], (tensor.numpy() for tensor in tensors), strict=False))
    feeds = cut_inputs(cut, cut.judging).feeds(cut.features.groups)
    assert feeds.keys() == given.keys()
    for name, array in given.items():
        assert feeds[name].dtype == array.dtype
        np.testing.assert_allclose(feeds[name], array, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("group", READS)
def test_only_the_group_that_a_model_reads_is_important(items: Windows, group: str) -> None:
    told = explain_forecaster(Graph(READS[group]), items, seed=0)
    rise = dict(zip(told["groups"], told["rise"], strict=True))
    assert rise.keys() == READS.keys()
    assert abs(rise.pop(group)) > 1e-3
    assert max(map(abs, rise.values())) < 1e-9
    assert all(
        least <= mean <= most
        for least, mean, most in zip(told["rise_least"], told["rise"], told["rise_most"], strict=True)
    )


def test_prices_of_another_item_end_at_the_own_close_and_leave_range_and_volume(items: Windows) -> None:
    mine, other = items.judging[:1], items.judging[-1:]
    inputs = cut_inputs(items, mine)
    given = inputs.feeds(items.features.groups)["candles"][0]
    theirs = cut_inputs(items, other)
    mixed = inputs.with_group("prices", theirs.groups["prices"]).feeds(items.features.groups)["candles"][0]
    source = theirs.feeds(items.features.groups)["candles"][0]
    assert mixed[-1, 3] == pytest.approx(given[-1, 3])
    np.testing.assert_allclose(mixed[:, 3] / mixed[-1, 3], source[:, 3] / source[-1, 3])
    reach = [candle[:, 1] / candle[:, [0, 3]].max(axis=1) for candle in (mixed, given)]
    np.testing.assert_allclose(*reach)
    np.testing.assert_array_equal(mixed[:, 4], given[:, 4])


def test_the_newest_forecast_is_set_beside_what_it_would_be_with_inputs_of_training_items() -> None:
    last = pl.col("ds") == pl.col("ds").max()
    rows = candles().with_columns(volume=pl.when(last).then(30.0).otherwise(10.0))
    told = explain_forecaster(Graph(READS["volume"]), judged(rows), seed=0)
    assert [one["series"] for one in told["newest"]] == ["BTC/USDT", "ETH/USDT"]
    for one in told["newest"]:
        assert one["cutoff"] == "2024-01-30T23:00:00+00:00"
        width = dict(zip(told["groups"], one["width"], strict=True))
        assert width.pop("volume") == pytest.approx(2.0)  # three times as wide as with the usual volume
        assert max(map(abs, [*width.values(), *one["median"]])) < 1e-9


@pytest.mark.parametrize("usual", [0.0, 1e-6])
def test_an_interval_is_not_measured_by_one_of_next_to_no_width(usual: float) -> None:
    last = pl.col("ds") == pl.col("ds").max()
    rows = candles().with_columns(volume=pl.when(last).then(30.0).otherwise(usual))
    told = explain_forecaster(Graph(READS["volume"]), judged(rows), seed=0)
    for one in told["newest"]:
        width = dict(zip(told["groups"], one["width"], strict=True))
        assert width.pop("volume") is None
        assert set(width.values()) == {0.0}
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_where_nothing_is_lost_there_is_no_rise_to_speak_of() -> None:
    late = pl.col("ds") >= JUDGED_FROM - timedelta(days=2)
    prices = ("open", "high", "low", "close")  # 1 is the price whose log has no rounding
    rows = candles().with_columns(pl.when(late).then(1.0).otherwise(pl.col(name)).alias(name) for name in prices)
    told = explain_forecaster(Graph(lambda feeds: np.zeros(len(feeds["cutoff"]))), windows(rows), seed=0)
    assert told["rise"] == told["rise_least"] == told["rise_most"] == []


def test_items_that_are_unlike_training_are_counted_and_their_loss_stands_apart(items: Windows) -> None:
    told = explain_forecaster(Graph(READS["volume"]), items, seed=0)
    doubtful = cut_inputs(items, items.judging).groups["volume"][:, -1] > 30.0
    assert told["items"] == len(items.judging)
    assert told["doubt"]["items"] == doubtful.sum() > 0
    assert told["doubt"]["loss"] != told["doubt"]["usual_loss"]


def test_the_same_seed_gives_the_same_explanation_in_plain_json(items: Windows) -> None:
    first, second, other = (explain_forecaster(Graph(READS["market"]), items, seed=seed) for seed in (1, 1, 2))
    assert json.loads(json.dumps(first)) == second
    assert first["rise"] != other["rise"]


def test_no_more_than_ten_newest_forecasts_are_explained() -> None:
    many = judged(candles(series=[f"coin {place}" for place in range(12)]))
    assert len(explain_forecaster(Graph(READS["volume"]), many, seed=0)["newest"]) == 10
