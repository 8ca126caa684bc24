"""A window cut when serving is the window that training cuts for the same cutoff."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
import torch
from tests.synthetic import HOUR, PAIRS, START, candles, plain, windows, without

from springtide.domain.rows import CANDLE_VALUES
from springtide.tasks.forecast.codec import ForecastCodec
from springtide.tasks.forecast.training import WindowTensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from springtide.tasks.forecast.items import Windows

CODEC = ForecastCodec()
HOLES = {"BTC/USDT": [500, 501, 540], "ETH/USDT": [*range(505, 512)], "SOL/USDT": [530], "a": [510, 511], "b": [532]}


def gapped(kind: str) -> pl.DataFrame:
    """Three pairs or two plain series with holes of their own; SOL began late."""
    rows = candles(series=PAIRS) if kind == "candles" else plain()
    for series, hours in HOLES.items():
        rows = without(rows, series, hours)
    return rows.filter((pl.col("unique_id") != "SOL/USDT") | (pl.col("ds") >= START + HOUR * 200))


def signature(items: Windows) -> dict[str, Any]:
    kind = items.panel.kind
    return {
        "model": "btc",
        "kind": kind,
        "series": list(items.panel.series),
        "step_s": items.panel.step_s,
        "window": items.recipe.window,
        "horizon": items.recipe.horizon,
        "levels": list(items.recipe.levels),
        "intervals": list(items.recipe.intervals),
        "inputs": ["candles", "market", "cutoff"] if kind == "candles" else ["values", "cutoff"],
        "values": "candles" if kind == "candles" else "values",
    }


def newest(rows: pl.DataFrame, cutoff: int, steps: int) -> dict[str, NDArray[Any]]:
    """The last `steps` rows of each series until `cutoff`, in no order."""
    seen = rows.filter(pl.col("ds").dt.epoch("s") <= cutoff).sort("unique_id", "ds")
    tail = seen.group_by("unique_id", maintain_order=True).tail(steps).sample(fraction=1, shuffle=True, seed=1)
    columns = {name: tail[name].to_numpy() for name in (*CANDLE_VALUES, "y") if name in tail.columns}
    return columns | {
        "unique_id": np.array(tail["unique_id"].to_list(), dtype=np.str_),
        "ds": tail["ds"].dt.epoch("s").to_numpy(),
    }


@pytest.mark.parametrize("kind", ["candles", "plain"])
def test_a_served_window_is_the_trained_window_to_the_last_bit(kind: str) -> None:
    rows = gapped(kind)
    items = windows(rows)
    tensors, panel, asked = WindowTensors.of(items, torch.device("cpu")), items.panel, signature(items)
    compared = 0
    for hour in range(500, 600):
        cutoff = int((START + HOUR * hour).timestamp())
        at = np.flatnonzero((panel.seconds == cutoff) & ~panel.filled)  # (series,) rows of the panel
        if len(at) < len(panel.series):
            continue  # this cutoff is missing in some series: then each has a newest row of its own
        names = [panel.series[owner] for owner in panel.owner[at]]
        _, steps = CODEC.rows(asked)
        encoded = CODEC.encode(asked, newest(rows, cutoff, steps), series=names)
        expected = tensors.inputs(torch.from_numpy(at))
        assert list(encoded.inputs) == asked["inputs"]
        for name, tensor in zip(asked["inputs"], expected, strict=True):
            served = encoded.inputs[name]
            assert served.dtype == tensor.numpy().dtype
            assert np.array_equal(served, tensor.numpy()), (name, hour)
        filled = [int(panel.filled[row - items.recipe.window + 1 : row + 1].sum()) for row in at.tolist()]
        assert encoded.context["filled_steps"] == filled
        compared += 1
    assert compared > 80


@pytest.mark.parametrize("kind", ["candles", "plain"])
def test_a_series_that_was_asked_for_alone_has_the_same_window(kind: str) -> None:
    items = windows(gapped(kind))
    asked, rows = signature(items), newest(gapped(kind), int(items.panel.seconds.max()), 48)
    together = CODEC.encode(asked, rows)
    for place, name in enumerate(together.context["series"]):
        alone = CODEC.encode(asked, rows, series=[name])
        assert all(np.array_equal(alone.inputs[key][0], together.inputs[key][place]) for key in asked["inputs"])


def test_the_lake_is_asked_for_the_trained_series_and_for_more_steps_than_the_window() -> None:
    which, steps = CODEC.rows(signature(windows(gapped("candles"))))
    assert which.series == PAIRS
    assert (which.start, which.end) == (None, None)
    assert steps > 24
