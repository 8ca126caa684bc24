"""How long from a new candle to a judged, exported, served challenger: hourly pairs, two years, fine-tuned, warm.

Synthetic candles of the simulated market, so that it runs anywhere:

    python benchmarks/candle_to_served.py [--runs 5] [--network mixer] [--budget 4] [--pairs 30]

With several pairs one global model learns them all. Each run appends one candle a pair, then retrains with ``start = "champion"`` and looks whether the server's shelf serves it.
The gate is ``better`` with a fine-tuned challenger, so that runs end both ways.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from springtide.app.answers import Answers
from springtide.app.home import Home, open_home
from springtide.app.worker import retrain
from springtide.domain.rows import CANDLE_VALUES
from springtide.settings.words import Gate, Model, Settings
from springtide.settings.words import Home as Places
from springtide.sources.candles import CANDLES
from springtide.sources.simulator.market import Market
from springtide.tasks.forecast.recipe import ForecastRecipe

HOURS = 2 * 365 * 24
START = datetime(2024, 1, 1, tzinfo=UTC)


def main() -> None:
    """Run and print a table."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--runs", type=int, default=5)
    asked.add_argument("--network", default="mixer")
    asked.add_argument("--budget", type=float, default=2.5, help="seconds of one fit")
    asked.add_argument("--pairs", type=int, default=1)
    options = asked.parse_args()
    pairs = tuple(f"COIN{number}/USDT" for number in range(options.pairs))
    with tempfile.TemporaryDirectory() as folder:
        home = _home(Path(folder), pairs, options.network, options.budget)
        market = Market(pairs, seed=1, start=START)
        table = home.lake.open("candles", step_s=3600)
        table.write(_candles(market, pairs, 0, HOURS))
        retrain(home, "coins")  # the champion, and everything imported and warm
        answers = Answers(home)
        answers.shelf.look()
        rows = [_measure(home, answers, market, pairs, HOURS + number) for number in range(options.runs)]
    steps = list(rows[0])
    print("seconds, median of", options.runs, "warm runs")
    for step in steps:
        values = [row[step] for row in rows]
        print(f"{step:<10} {statistics.median(values):7.2f}  ({min(values):.2f} to {max(values):.2f})")


def _measure(home: Home, answers: Answers, market: Market, pairs: tuple[str, ...], hour: int) -> dict[str, float]:
    began = time.perf_counter()
    home.lake.table("candles").write(_candles(market, pairs, hour, 1))
    ingested = time.perf_counter()
    outcome = retrain(home, "coins")
    retrained = time.perf_counter()
    answers.shelf.look()
    seconds = {"ingest": ingested - began}
    seconds |= {step.name: step.seconds or 0.0 for step in outcome.run.steps}
    seconds |= {"swap": time.perf_counter() - retrained, "whole": time.perf_counter() - began}
    assert answers.model("coins")["serving"]["version"] == outcome.entry.serving
    return seconds


def _candles(market: Market, pairs: tuple[str, ...], first_hour: int, hours: int) -> pl.DataFrame:
    return pl.concat([_candles_of(market, pair, first_hour, hours) for pair in pairs])


def _candles_of(market: Market, pair: str, first_hour: int, hours: int) -> pl.DataFrame:
    first_ms = int((START + timedelta(hours=first_hour)).timestamp() * 1000)
    raw = market.candles(pair, 3600, first_ms, first_ms + (hours - 1) * 3_600_000)
    frame = pl.DataFrame(raw, schema=["ds", *CANDLE_VALUES], orient="row").with_columns(
        pl.lit(pair).alias("unique_id"),
        pl.from_epoch(pl.col("ds").cast(pl.Int64), "ms").dt.replace_time_zone("UTC"),
    )
    return frame.select(CANDLES.keys()).cast(dict(CANDLES))


def _home(folder: Path, pairs: tuple[str, ...], network: str, budget: float) -> Home:
    recipe = ForecastRecipe(series=pairs, network=network)  # type: ignore[arg-type] # checked by the recipe
    model = Model(
        task="forecast",
        table="candles",
        budget=timedelta(seconds=budget),
        gate=Gate(rule="better", first="always"),
        recipe=recipe,
    )
    places = Places(store=str(folder / "var"), database=f"sqlite:///{folder}/springtide.db")
    return open_home(Settings(home=places, models={"coins": model}))


if __name__ == "__main__":
    main()
