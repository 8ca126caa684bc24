"""Features are the same when training and when serving, through the exported file and all."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from tests.synthetic import HOUR, JUDGED_FROM, START, candles, recipe, silent

from springtide.domain.errors import Conflict
from springtide.serving.rows import columns_of
from springtide.tasks.forecast.codec import ForecastCodec
from springtide.tasks.forecast.task import ForecastTask
from springtide.tasks.seam import Budget

if TYPE_CHECKING:
    from pathlib import Path

    from springtide.tasks.forecast.items import Windows

TASK, CODEC = ForecastTask(), ForecastCodec()
FEATURES: dict[str, Any] = {
    "indicators": ["rsi", "macd", "atr", "obv"],
    "timeframes": ["4h"],
    "drivers": ["SOL/USDT"],
    "calendar": True,
    "outside": {"flows": {"table": "flows", "columns": ["y"], "delay": "30m", "max_age": "1d", "series": "chain"}},
}
SERIES = ("BTC/USDT", "ETH/USDT")


def flows(hours: int = 24 * 30) -> pl.DataFrame:
    """Another table, whose rows come at odd minutes and sometimes not at all."""
    rng = np.random.default_rng(8)
    times = [START + HOUR * hour + timedelta(minutes=int(rng.integers(0, 60))) for hour in range(0, hours, 3)]
    return pl.DataFrame({"unique_id": "chain", "ds": times, "y": rng.normal(0, 1e6, len(times))})


def prepared(rows: pl.DataFrame, **changes: Any) -> Windows:
    wanted = recipe(**{"series": SERIES, "max_steps": 30, "features": FEATURES} | changes)
    tables = {"flows": flows().lazy()} if TASK.outside(wanted) else {}
    return TASK.prepare(rows.lazy(), wanted, judged_from=JUDGED_FROM, outside=tables)


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    every = candles(series=(*SERIES, "SOL/USDT"))
    return every.filter(~((pl.col("unique_id") == "ETH/USDT") & (pl.col("ds") == START + HOUR * 690)))


@pytest.fixture(scope="module")
def items(rows: pl.DataFrame) -> Windows:
    return prepared(rows)


@pytest.fixture(scope="module")
def folder(items: Windows, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    fitted = TASK.fit(items, start=None, budget=Budget(60, device="cpu"), progress=silent)
    TASK.export(fitted, items, folder)
    return folder


@pytest.mark.parametrize("hour", [660, 691, 700])
def test_the_server_gives_the_graph_the_features_that_training_had(
    rows: pl.DataFrame, items: Windows, folder: Path, hour: int
) -> None:
    signature = TASK.load(folder).signature | {"model": "m"}  # type: ignore[attr-defined] # an exported forecaster
    which, steps = CODEC.rows(signature)
    assert set(which.series) == {*SERIES, "SOL/USDT"}
    cutoff = START + HOUR * hour
    known = rows.filter(pl.col("ds") <= cutoff)
    newest = known.sort("ds").group_by("unique_id").tail(steps)
    (table, (_, span_s)) = next(iter(CODEC.outside(signature).items()))
    assert table == "flows"
    others = flows().filter(pl.col("ds") > cutoff - timedelta(seconds=span_s))
    encoded = CODEC.encode(signature, columns_of(newest), outside={table: columns_of(others)})
    assert encoded.context["series"] == list(SERIES)
    trained = [
        items.features.values[(items.panel.seconds == int(cutoff.timestamp())) & (items.panel.owner == owner)][0]
        for owner in range(2)
    ]
    assert not np.isnan(trained).any()
    assert encoded.inputs["features"] == pytest.approx(np.stack(trained), rel=1e-6, abs=1e-6)


def test_a_table_that_is_not_there_is_not_known_and_the_model_still_answers(rows: pl.DataFrame, folder: Path) -> None:
    signature = TASK.load(folder).signature | {"model": "m"}  # type: ignore[attr-defined]
    encoded = CODEC.encode(signature, columns_of(rows))
    places = [place for place, name in enumerate(signature["layout"]["features"]) if name.startswith("flows")]
    assert np.isnan(encoded.inputs["features"][:, places]).all()
    quantiles = TASK.load(folder).session.run(None, dict(encoded.inputs))[0]  # type: ignore[attr-defined]
    assert np.isfinite(quantiles).all()


def test_a_champion_without_features_is_compared_with_a_challenger_that_has_them(
    rows: pl.DataFrame, items: Windows, tmp_path: Path
) -> None:
    bare = prepared(rows, features={})
    fitted = TASK.fit(bare, start=None, budget=Budget(60, device="cpu"), progress=silent)
    TASK.export(fitted, bare, tmp_path)
    assert TASK.load(tmp_path)(items, items.judging) == pytest.approx(fitted(bare, bare.judging), rel=1e-5)


def test_a_champion_whose_table_is_no_longer_read_answers_another_question(rows: pl.DataFrame, folder: Path) -> None:
    bare = prepared(rows, features={"drivers": ["SOL/USDT"]})
    with pytest.raises(Conflict, match="flows"):
        TASK.load(folder)(bare, bare.judging)
