"""How fast rows come to rest, and how fast the newest come back: ``python benchmarks/ingest.py``.

A million real candles where the data sets are beside the project, synthetic ones otherwise. Each case runs once in
a process of its own, on a fresh folder, so that the memory is that case's own peak.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from springtide.domain.rows import CANDLE_VALUES, Filter
from springtide.lake.columns import MOMENT
from springtide.lake.tables import Lake

if TYPE_CHECKING:
    from collections.abc import Callable

    from springtide.lake.table import Table

ROOT = Path(__file__).parent.parent
CANDLES = "candles/binance_spot_1h_33coins_2017-08_2022-10.parquet"
SERIES = "BTC/USDT"


def load() -> pl.DataFrame:
    file = Path(os.environ.get("SPRINGTIDE_DATA", ROOT.parent / "shared" / "data")) / CANDLES
    if file.exists():
        rows = pl.read_parquet(file).rename({"symbol": "unique_id", "timestamp": "ds"})
        return rows.with_columns(pl.col("ds").cast(MOMENT))
    first = datetime(2020, 1, 1, tzinfo=UTC)
    hours = pl.datetime_range(first, first + timedelta(hours=29_999), "1h", eager=True)
    one = pl.DataFrame({"ds": hours.cast(MOMENT)} | dict.fromkeys(CANDLE_VALUES, pl.Series(range(30_000)) / 7))
    names = [SERIES, *(f"S{number}/USDT" for number in range(32))]
    return pl.concat([one.select(pl.lit(name).alias("unique_id"), pl.all()) for name in names])


def next_hour(rows: pl.DataFrame) -> pl.DataFrame:
    last = rows.filter(pl.col("unique_id") == SERIES).sort("ds").tail(1)
    return last.with_columns(pl.col("ds") + timedelta(hours=1))


def with_other_close(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.col("close") * 2)


CASES: dict[str, Callable[[Table, pl.DataFrame], object]] = {
    "write all, new": lambda table, rows: Lake(f"{table.place.url}/other").open("t").write(rows),
    "write all again, unchanged": lambda table, rows: table.write(rows),
    "append one row": lambda table, rows: table.write(next_hour(rows)),
    "correct one old row": lambda table, rows: table.write(with_other_close(rows[len(rows) // 2 :][:1])),
    "correct every row": lambda table, rows: table.write(with_other_close(rows)),
    "newest 168 of one series": lambda table, _: table.newest(Filter((SERIES,)), steps=168),
    "newest 168 of every series": lambda table, _: table.newest(Filter(), steps=168),
    "snapshot with hash": lambda table, _: table.snapshot(Filter()),
    "facts": lambda table, _: table.facts(),
}


def measure(case: str) -> None:
    rows = load()
    with tempfile.TemporaryDirectory() as folder:
        table = Lake(folder).open("t", step_s=3600)
        if case != "write all, new":
            table.write(rows)
        started = time.perf_counter()
        CASES[case](table, rows)
        seconds = time.perf_counter() - started
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{case:28} {len(rows):9,} rows {seconds * 1000:8.1f} ms   peak {peak_mb:5.0f} MB")


def main() -> None:
    print(f"lake, local folder, {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores")
    for case in CASES:
        subprocess.run([sys.executable, __file__, case], check=True)


if __name__ == "__main__":
    measure(sys.argv[1]) if len(sys.argv) > 1 else main()
