"""What the server says from the newest rows is what the trained model says of the same items."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from tests.serving_world import SETTINGS, verdict

from springtide.app.answers import Answers
from springtide.app.home import open_home, read_settings
from springtide.domain.model import Manifest
from springtide.domain.rows import Filter
from springtide.serving.live import open_model
from springtide.serving.rows import columns_of
from springtide.tasks.forecast.codec import ForecastCodec
from springtide.tasks.forecast.recipe import ForecastRecipe
from springtide.tasks.forecast.task import ForecastTask
from springtide.tasks.seam import Budget

if TYPE_CHECKING:
    from pathlib import Path

    from springtide.domain.model import Version
    from springtide.tasks.forecast.items import Windows

SERIES = ("BTC/USDT", "ETH/USDT")
START = datetime(2024, 1, 1, tzinfo=UTC)
HOURS = 1500
RECIPE = ForecastRecipe(
    series=SERIES, horizon=6, window=24, intervals=(80, 90), validation=timedelta(days=5), max_steps=20
)


def candles() -> pl.DataFrame:
    """Random walks; each series has holes of its own, and ETH began later."""
    random = np.random.default_rng(7)
    frames = []
    for place, name in enumerate(SERIES):
        close = 100 * np.exp(np.cumsum(random.normal(0, 0.01, HOURS)))
        frame = pl.DataFrame(
            {
                "unique_id": name,
                "ds": pl.datetime_range(START, START + timedelta(hours=HOURS - 1), "1h", time_unit="us", eager=True),
                "open": close * 0.999,
                "high": close * 1.002,
                "low": close * 0.998,
                "close": close,
                "volume": random.uniform(1, 2, HOURS),
            }
        )
        holes = random.random(HOURS) < 0.02
        holes[[0, -1]] = False
        frames.append(frame.filter(~holes)[200 * place :])
    return pl.concat(frames)


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    return candles()


@pytest.fixture(scope="module")
def trained(rows: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> tuple[Windows, Path]:
    """A network of the real kind, hardly trained, and the folder it was exported to."""
    task = ForecastTask()
    windows = task.prepare(rows.lazy(), RECIPE, judged_from=START + timedelta(hours=HOURS - 300))
    fitted = task.fit(windows, start=None, budget=Budget(seconds=20, device="cpu"), progress=lambda _: None)
    folder = tmp_path_factory.mktemp("export")
    task.export(fitted, windows, folder)
    return windows, folder


def publish(rows: pl.DataFrame, export: Path, folder: Path) -> tuple[Answers, Version]:
    config = folder / "springtide.toml"
    config.write_text(SETTINGS.format(folder=folder, poll_s=1.0))
    home = open_home(read_settings(config, environ={}))
    home.lake.open("candles", step_s=3600).write(rows)
    snapshot = home.lake.table("candles").snapshot(Filter(series=SERIES))
    now = START + timedelta(hours=HOURS)
    signature = ForecastTask().load(export).signature  # type: ignore[attr-defined]
    manifest = Manifest("btc", "forecast", "run-1", now, "code", snapshot, {}, signature, {})
    version = home.registry.publish(manifest, export, verdict())
    home.registry.promote("btc", version.number, run="run-1", by="run", reason="", at=now)
    return Answers(home, clock=lambda: now), version


def medians_and_ends(columns: dict[str, list[Any]]) -> np.ndarray[Any, Any]:
    names = ("btc-lo-90", "btc-lo-80", "btc", "btc-hi-80", "btc-hi-90")
    return np.stack([np.array(columns[name]) for name in names], axis=1)


def test_at_every_cutoff_the_server_answers_as_the_trained_model(
    rows: pl.DataFrame, trained: tuple[Windows, Path], tmp_path: Path
) -> None:
    windows, export = trained
    answers, version = publish(rows, export, tmp_path)
    model, _ = open_model(version, answers.home.registry.read, ForecastCodec())
    items = windows.judging[::7]
    expected = ForecastTask().load(export)(windows, items)
    for item, quantiles in zip(items, expected, strict=True):
        cutoff = datetime.fromtimestamp(int(windows.panel.seconds[item]), UTC)
        series = windows.panel.series[int(windows.panel.owner[item])]
        seen = rows.filter(pl.col("ds") <= cutoff)
        newest = seen.group_by("unique_id", maintain_order=True).tail(model.want.steps)
        mine = newest.filter(unique_id=series)["ds"].max()
        if mine != cutoff:  # the item stands on a filled step, which no newest row is
            continue
        answer = model.predict(columns_of(newest), series=(series,))
        assert medians_and_ends(answer.columns) == pytest.approx(quantiles, rel=1e-9)


def test_the_forecast_from_the_lake_is_the_prediction_from_all_rows(
    rows: pl.DataFrame, trained: tuple[Windows, Path], tmp_path: Path
) -> None:
    answers, _ = publish(rows, trained[1], tmp_path)
    answers.shelf.look()
    lake = answers.forecast("btc")["columns"]
    sent = answers.predict("btc", [{**row, "ds": int(row["ds"].timestamp())} for row in rows.to_dicts()])["columns"]
    assert lake.keys() == sent.keys()
    assert medians_and_ends(lake) == pytest.approx(medians_and_ends(sent), rel=1e-9)
    assert lake["ds"] == sent["ds"]
