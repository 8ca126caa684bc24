"""Do funding rates help? The same model with and without an outside table, on the same items.

    SPRINGTIDE_DATA=... python benchmarks/outside.py [--folds 4] [--judge 180d] [--horizon 48] [--budget 60s]

BTC and ETH every five minutes; the funding rates of their perpetual futures stand outside, known when they are set. Both
models are trained from scratch before each fold and judged on the items after it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from springtide.app.home import open_home, read_settings
from springtide.app.ingestion import ingest
from springtide.app.worker import TASKS
from springtide.domain.clock import utc_now
from springtide.evaluation.significance import compare, compare_by_group
from springtide.evaluation.splits import walk_forward
from springtide.pipeline.backtest import join
from springtide.pipeline.gathering import gather
from springtide.tasks.seam import Budget

if TYPE_CHECKING:
    from springtide.app.home import Home
    from springtide.evaluation.losses import Losses
    from springtide.settings.words import Model

SETTINGS = """
[sources.candles]
kind = "files"
path = "{data}/candles/binance_spot_5m_BTC_ETH_2024-2026.parquet"
[sources.funding]
kind = "files"
path = "{data}/candles/binance_futures_funding_rate_2024-2026.parquet"
columns = {{ unique_id = "symbol", ds = "timestamp", y = "open" }}
timeframe = "irregular"
"""
MODEL = """
[models.{name}]
task = "forecast"
table = "candles"
series = ["BTC/USDT", "ETH/USDT"]
window = 288
horizon = {horizon}
stride = 6
budget = "{budget}"
"""
OUTSIDE = """
[models.with.features.outside.funding]
table = "funding"
columns = ["y"]
delay = "0s"
max_age = "1d"
series = { "BTC/USDT" = "BTC/USDT/USDT", "ETH/USDT" = "ETH/USDT/USDT" }
"""


def main() -> None:
    """Run and print a table."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--folds", type=int, default=4)
    asked.add_argument("--judge", type=int, default=180, help="days")
    asked.add_argument("--horizon", type=int, default=48)
    asked.add_argument("--budget", default="60s", help="of one fit")
    options = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = _home(Path(folder), options)
        losses = {name: _walk(home, model, options) for name, model in home.settings.models.items()}
    found, bare = losses["with"], losses["without"]
    for name, one in losses.items():
        print(
            f"{name:8s} pinball {1e4 * one.mean:.4f}e-4, coverage_90 {one.metrics['coverage_90']:.3f}, {len(one.values):,} items"
        )
    every = compare(found, bare)
    print(f"with funding rates: {every.gain:+.3%}, p = {every.p_value:.3g}, {every.times:,} times")
    for series, one in compare_by_group(found, bare).items():
        print(f"  {series}: {one.gain:+.3%}, p = {one.p_value:.3g}")


def _home(folder: Path, options: argparse.Namespace) -> Home:
    path = folder / "springtide.toml"
    models = "".join(
        MODEL.format(name=name, horizon=options.horizon, budget=options.budget) for name in ("without", "with")
    )
    path.write_text(SETTINGS.format(data=os.environ["SPRINGTIDE_DATA"]) + models + OUTSIDE)
    home = open_home(read_settings(path))
    for source in home.settings.sources:
        ingest(home, source, now=utc_now, told=lambda _brought, _done: None)
    return home


def _walk(home: Home, model: Model, options: argparse.Namespace) -> Losses:
    task, table = TASKS[model.task], home.lake.table(model.table)
    last = gather(model, task=task, tables=home.lake.table, known_at=None).snapshot.last
    parts = []
    for fold in walk_forward(last=int(last.timestamp()), span=options.judge * 86_400, folds=options.folds):
        known_at = datetime.fromtimestamp(fold.stop, tz=UTC) + timedelta(seconds=table.step_s or 0)
        rows = gather(model, task=task, tables=home.lake.table, known_at=known_at)
        start = datetime.fromtimestamp(fold.start, tz=UTC)
        prepared = task.prepare(rows.rows, model.recipe, judged_from=start, outside=rows.others)
        budget = Budget(model.budget.total_seconds(), model.seed)
        fitted = task.fit(prepared, start=None, budget=budget, progress=lambda _advance: None)
        print(f"  {prepared.facts['features']} features, kept the {fitted.facts['kept']} weights", flush=True)
        parts.append(task.losses(task.predictor(fitted), prepared))
    return join(parts)


if __name__ == "__main__":
    main()
