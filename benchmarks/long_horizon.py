"""ETTh1 and exchange_rate by the field's protocol: ``python benchmarks/long_horizon.py [--networks nlinear patch]``.

Every column is a series of one global model, standardised by its training part; the first part of the rows is for training,
the next for validation, the last for the test (ETTh1: 12, 4 and 4 months of 30 days; exchange_rate: 70, 10 and 20 %). MSE and
MAE of the median are averaged over every window and column of the test part, as Zhou et al. 2021, arXiv:2012.07436, and all after
them do. Published rows stand beside; they minimise the squared error, these networks the pinball loss. The row of the last
value is worked out here: on exchange_rate it beats most models.

Takes the data sets from ``$SPRINGTIDE_DATA/forecast``.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
START = datetime(2016, 7, 1, tzinfo=UTC)
CHUNK = 2048  # items at a time


@dataclass(frozen=True)
class Dataset:
    """Columns of values and where they are cut."""

    name: str
    values: np.ndarray  # (rows, columns), standardised
    step: timedelta
    train: int  # rows
    validation: int
    settings: dict[str, Any]

    def windows(self, network: str, horizon: int, **changes: Any) -> Windows:
        """The items of one run: validation and test begin where the field's do."""
        recipe = ForecastRecipe(
            network=network,
            horizon=horizon,
            validation=self.step * (self.validation - horizon),
            **(self.settings | changes),
        )
        times = [START + self.step * row for row in range(len(self.values))]
        rows = pl.concat(
            pl.DataFrame({"unique_id": f"{place:02}", "ds": times, "y": column})
            for place, column in enumerate(self.values.T)
        )
        last_known = START + self.step * (self.train + self.validation - 1)
        return ForecastTask().prepare(rows.lazy(), recipe, judged_from=last_known)


def main() -> None:
    """Train each network that is asked for and print its row beside the published ones."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--networks", nargs="+", default=["nlinear", "patch"])
    asked.add_argument("--datasets", nargs="+", default=["ETTh1", "exchange_rate"])
    asked.add_argument("--horizons", nargs="+", type=int, default=[96])
    asked.add_argument("--threads", type=int, default=2)
    asked.add_argument("--budget", type=float, default=300.0, help="seconds of one fit")
    options = asked.parse_args()
    torch.set_num_threads(options.threads)
    published = pl.read_csv(DATA / "ltsf_published_scores.csv")
    for name in options.datasets:
        dataset = READERS[name]()
        for horizon in options.horizons:
            print(f"\n{name}, horizon {horizon:<22}{'MSE':>8}{'MAE':>8}{'seconds':>9}")
            for row in published.filter(dataset=name, horizon=horizon).sort("MSE").iter_rows(named=True):
                print(f"{row['model']:<22} sees {row['lookback']:<12}{row['MSE']:>8.3f}{row['MAE']:>8.3f}  published")
            print(_line("last value, worked out here", *_errors(dataset.windows("nlinear", horizon), _last_value)))
            for network in options.networks:
                windows = dataset.windows(network, horizon)
                began = time.perf_counter()
                fitted = ForecastTask().fit(
                    windows, start=None, budget=Budget(options.budget, device="cpu"), progress=lambda _advance: None
                )
                spent = time.perf_counter() - began
                found = _errors(windows, fitted)
                print(_line(f"{network:<22} sees {windows.recipe.window}", *found) + f"{spent:>9.0f}", flush=True)


def _errors(windows: Windows, predict: Predictor) -> tuple[float, float]:
    """MSE and MAE of the median over all test windows and columns."""
    middle, items = len(windows.recipe.levels) // 2, windows.judging
    missed = [
        windows.outcomes(part) - predict(windows, part)[:, :, middle]
        for part in np.split(items, range(CHUNK, len(items), CHUNK))
    ]
    errors = np.concatenate(missed)
    return float(np.square(errors).mean()), float(np.abs(errors).mean())


def _last_value(windows: Windows, items: np.ndarray) -> np.ndarray:
    """Nothing changes: (n, 1, levels)."""
    return np.repeat(windows.panel.target[items], len(windows.recipe.levels)).reshape(len(items), 1, -1)


def _line(name: str, mse: float, mae: float) -> str:
    return f"{name:<39}{mse:>8.3f}{mae:>8.3f}"


def _etth1() -> Dataset:
    month = 30 * 24
    values = pl.read_csv(DATA / "ETTh1.csv.gz").drop("date").to_numpy()[: 20 * month]
    settings = {"window": 336, "season": 24, "learning_rate": 1e-3}
    return Dataset("ETTh1", _standardise(values, 12 * month), HOUR, 12 * month, 4 * month, settings)


def _exchange_rate() -> Dataset:
    values = pl.read_csv(DATA / "exchange_rate.txt.gz", has_header=False).to_numpy()
    train, test = int(0.7 * len(values)), int(0.2 * len(values))
    settings = {"window": 336, "season": 1, "learning_rate": 3e-4}
    return Dataset("exchange_rate", _standardise(values, train), DAY, train, len(values) - train - test, settings)


def _standardise(values: np.ndarray, train: int) -> np.ndarray:
    scaled: np.ndarray = (values - values[:train].mean(axis=0)) / values[:train].std(axis=0)
    return scaled


READERS = {"ETTh1": _etth1, "exchange_rate": _exchange_rate}


if __name__ == "__main__":
    main()
