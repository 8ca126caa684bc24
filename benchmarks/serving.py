"""How fast a forecast is answered, in the process and over HTTP, and how large the server is.

Trains a network of the real kind for a moment on simulated hours of 33 series, publishes it in a new home and asks a
real server process. Run: ``python benchmarks/serving.py``
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import polars as pl
import psutil

from springtide.app.answers import Answers
from springtide.app.home import Home, open_home, read_settings
from springtide.domain.model import Manifest
from springtide.domain.rows import Filter
from springtide.domain.verdict import Verdict
from springtide.tasks.forecast.task import ForecastTask
from springtide.tasks.seam import Budget

if TYPE_CHECKING:
    from collections.abc import Callable

SERIES = tuple(f"C{number:02d}/USDT" for number in range(33))
HOURS = 3000
START = datetime(2024, 1, 1, tzinfo=UTC)
TOML = """
[home]
store = "{0}/var"
database = "sqlite:///{0}/var/springtide.db"
[serve]
port = 0
[models.all]
task = "forecast"
table = "candles"
horizon = 24
window = 168
validation = "10d"
max_steps = 5
"""


def candles() -> pl.DataFrame:
    random = np.random.default_rng(0)
    times = pl.datetime_range(START, START + timedelta(hours=HOURS - 1), "1h", time_unit="us", eager=True)
    frames = []
    for name in SERIES:
        close = 100 * np.exp(np.cumsum(random.normal(0, 0.01, HOURS)))
        prices = {"open": close, "high": close * 1.001, "low": close * 0.999, "close": close}
        frames.append(pl.DataFrame({"unique_id": name, "ds": times, **prices, "volume": np.ones(HOURS)}))
    return pl.concat(frames)


def publish(folder: Path) -> tuple[Home, Path]:
    config = folder / "springtide.toml"
    config.write_text(TOML.format(folder))
    home = open_home(read_settings(config, environ={}))
    table = home.lake.open("candles", step_s=3600)
    table.write(candles())
    task, recipe = ForecastTask(), home.settings.models["all"].recipe
    windows = task.prepare(table.scan(), recipe, judged_from=START + timedelta(hours=HOURS - 400))
    fitted = task.fit(windows, start=None, budget=Budget(seconds=30, device="cpu"), progress=lambda _: None)
    (folder / "export").mkdir()
    exported = task.export(fitted, windows, folder / "export")
    now, snapshot = datetime.now(UTC), table.snapshot(Filter())
    verdict = Verdict(promote=True, reason="a benchmark", rule="better", loss_name="", items=1, loss=1, comparisons=())
    manifest = Manifest("all", "forecast", "run", now, "code", snapshot, {}, exported.signature, {})
    home.registry.publish(manifest, folder / "export", verdict)
    home.registry.promote("all", 1, run="run", by="run", reason="", at=now)
    return home, config


def percentiles(ask: Callable[[], Any], times: int) -> str:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        ask()
        took.append(1e3 * (time.perf_counter() - began))
    p50, p99 = np.percentile(took, [50, 99])
    return f"p50 {p50:7.3f} ms   p99 {p99:7.3f} ms"


def in_process(home: Home) -> None:
    answers = Answers(home)
    began = time.perf_counter()
    answers.shelf.look()
    print(f"{'open, prove and forecast 33 series':44s} {1e3 * (time.perf_counter() - began):11.1f} ms")
    one = SERIES[:1]
    print(f"{'forecast, one series':44s}", percentiles(lambda: answers.forecast("all", one), 5000))
    print(f"{'forecast, 33 series':44s}", percentiles(lambda: answers.forecast("all"), 300))
    now = answers.shelf.place("all").now
    assert now.rows is not None
    mine = {name: values[now.rows.columns["unique_id"] == one[0]] for name, values in now.rows.columns.items()}
    print(f"{'encode, run, decode: one series':44s}", percentiles(lambda: now.model.predict(mine), 500))
    print(f"{'look for champions and rows':44s}", percentiles(answers.shelf.look, 100))


def over_http(config: Path) -> None:
    command = [sys.executable, "-m", "springtide.api.main", "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        began = time.perf_counter()
        url = process.stdout.readline().split()[-1]
        print(f"{'server start':44s} {1e3 * (time.perf_counter() - began):11.1f} ms")
        size = psutil.Process(process.pid).memory_info
        with httpx.Client(base_url=url) as client:
            client.get("/readyz").raise_for_status()
            print(f"{'resident memory after the start':44s} {size().rss / 1e6:11.1f} MB")
            path = f"/v1/models/all/forecast?series={SERIES[0]}"
            print(f"{'GET forecast, one series':44s}", percentiles(lambda: client.get(path), 2000))
            print(f"{'GET healthz (the floor)':44s}", percentiles(lambda: client.get("/healthz"), 2000))
            newest = candles().filter(unique_id=SERIES[0]).tail(200)
            body = {"rows": [row | {"ds": int(row["ds"].timestamp())} for row in newest.to_dicts()]}
            print(
                f"{'POST predict, 200 rows':44s}",
                percentiles(lambda: client.post("/v1/models/all/predict", json=body), 300),
            )
            print(f"{'resident memory after 4,300 requests':44s} {size().rss / 1e6:11.1f} MB")
        process.terminate()


def main() -> None:
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory() as folder:
        home, config = publish(Path(folder))
        in_process(home)
        over_http(config)


if __name__ == "__main__":
    main()
