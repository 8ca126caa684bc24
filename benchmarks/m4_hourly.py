"""The M4 competition's hourly series: ``python benchmarks/m4_hourly.py [--networks nhits mixer] [--threads 2]``.

414 series of 700 to 960 hours, the next 48 to be forecast. One global network is trained on the training parts alone; its last
hours, 48 forecasts of each series, choose the weights. The competition's series have no dates: they are given hourly ones
that all end together. Scores are those of the competition (Makridakis, Spiliotis & Assimakopoulos 2020,
doi:10.1016/j.ijforecast.2019.04.014): sMAPE and MASE of the median, averaged over the series, and OWA, their mean in units
of the published Naive2. Answers are those of the exported file.

Takes the files of the competition from ``$SPRINGTIDE_DATA/forecast``.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import torch

from springtide.tasks.forecast.recipe import ForecastRecipe
from springtide.tasks.forecast.task import ForecastTask
from springtide.tasks.seam import Budget

if TYPE_CHECKING:
    from springtide.tasks.forecast.baselines.predictor import Predictor
    from springtide.tasks.forecast.items import Windows

DATA = Path(os.environ.get("SPRINGTIDE_DATA", Path(__file__).parent.parent.parent / "shared" / "data")) / "forecast"
HOUR, SEASON, HORIZON = timedelta(hours=1), 24, 48
END = datetime(2024, 1, 1, tzinfo=UTC)  # of every series
PUBLISHED = {"Naive2": "Naive2", "Theta": "Theta", "last day": "sNaive", "ES-RNN, the winner": "118"}
STEPS = {"lstm": 400, "mixer": 2000, "nhits": 2000, "nlinear": 2000, "patch": 1500}


def main() -> None:
    """Train each network that is asked for and print its row beside the published ones."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--networks", nargs="+", default=["nhits"], choices=list(STEPS))
    asked.add_argument("--threads", type=int, default=2)
    asked.add_argument("--budget", type=float, default=300.0, help="seconds of one fit")
    asked.add_argument("--seed", type=int, default=0)
    options = asked.parse_args()
    torch.set_num_threads(options.threads)

    published = pl.read_csv(DATA / "m4_published_scores.csv", infer_schema_length=None).filter(frequency="Hourly")
    print(f"{'':<24}{'sMAPE':>8}{'MASE':>8}{'OWA':>8}{'seconds':>9}{'steps':>7}")
    for name, submission in PUBLISHED.items():
        (row,) = published.filter(submission=submission).to_dicts()
        print(f"{name:<24}{row['sMAPE']:>8.3f}{row['MASE']:>8.3f}{row['OWA']:>8.3f}   published")
    naive2 = published.filter(submission="Naive2").select("sMAPE", "MASE").row(0)

    rows, task = _read(), ForecastTask()
    for place, network in enumerate(options.networks):
        recipe = ForecastRecipe(
            horizon=HORIZON,
            window=10 * SEASON,
            network=network,
            logarithmic=True,
            validation=2 * SEASON * HOUR,
            learning_rate=1e-3,
            max_steps=STEPS[network],
        )
        windows = task.prepare(rows.lazy(), recipe, judged_from=END - HORIZON * HOUR)
        assert len(windows.judging) == len(windows.panel.series)
        if place == 0:
            rival = task.baselines(windows)["seasonal-naive-scaled"]
            print(_line("last day, worked out here", _scores(rival, windows), naive2))
        began = time.perf_counter()
        fitted = task.fit(
            windows, start=None, budget=Budget(options.budget, options.seed, "cpu"), progress=lambda _advance: None
        )
        spent = time.perf_counter() - began
        with tempfile.TemporaryDirectory() as folder:
            task.export(fitted, windows, Path(folder))
            line = _line(network, _scores(task.load(Path(folder)), windows), naive2)
        print(f"{line}{spent:>9.0f}{fitted.facts['best_step']:>7}", flush=True)


def _read() -> pl.DataFrame:
    """All series, training and test part joined, as ``unique_id, ds, y``."""
    parts = [
        pl.read_csv(DATA / f"m4_hourly_{part}.csv.gz", infer_schema_length=None)
        .unpivot(index="V1", variable_name="hour", value_name="y")
        .with_columns(
            part=pl.lit(place), hour=pl.col("hour").str.slice(1).cast(pl.Int64), y=pl.col("y").cast(pl.Float64)
        )
        .drop_nulls("y")
        for place, part in enumerate(("train", "test"))
    ]
    joined = pl.concat(parts).sort("V1", "part", "hour")
    back = pl.len().over("V1") - 1 - pl.int_range(pl.len()).over("V1")
    return joined.select(unique_id="V1", ds=pl.lit(END) - back * HOUR, y="y")


def _scores(predictor: Predictor, windows: Windows) -> tuple[float, float]:
    """The competition's sMAPE and MASE of the median."""
    panel, items = windows.panel, windows.judging
    outcomes = windows.outcomes(items)
    median = predictor(windows, items)[:, :, len(windows.recipe.levels) // 2]
    errors = np.abs(outcomes - median)
    known = [panel.target[start : item + 1] for start, item in zip(panel.bounds[:-1], items, strict=True)]
    naive = np.array([np.abs(past[SEASON:] - past[:-SEASON]).mean() for past in known])
    smape = 200 * (errors / (np.abs(outcomes) + np.abs(median))).mean()
    return float(smape), float((errors.mean(axis=1) / naive).mean())


def _line(name: str, scores: tuple[float, float], naive2: tuple[float, ...]) -> str:
    smape, mase = scores
    return f"{name:<24}{smape:>8.3f}{mase:>8.3f}{(smape / naive2[0] + mase / naive2[1]) / 2:>8.3f}"


if __name__ == "__main__":
    main()
