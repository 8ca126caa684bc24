"""85 senders: the counts of Russian regions as weekly batches, and a home whose table they fill."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl

from springtide.app.home import Home, open_home, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

SETTINGS = """\
[home]
store = "./var"
database = "sqlite:///var/springtide.db"

[serve]
port = {port}

[sources.covid]
kind = "rows"
values = {{ y = "integer", deaths = "integer" }}
columns = {{ ds = "date", y = "confirmed" }}
timeframe = "1d"
period = "7d"
full = 7
{more}
"""
NOW = datetime(2020, 6, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Batch:
    """What one region sends at once."""

    region: str
    name: str
    rows: pl.DataFrame  # date, confirmed, deaths

    @property
    def csv(self) -> bytes:
        """As CSV."""
        return self.rows.write_csv().encode()

    @property
    def parquet(self) -> bytes:
        """As Parquet."""
        buffer = io.BytesIO()
        self.rows.write_parquet(buffer)
        return buffer.getvalue()

    @property
    def json(self) -> bytes:
        """As a list of objects."""
        return self.rows.with_columns(pl.col("date").cast(pl.String)).write_json().encode()


def counts(folder: Path) -> pl.DataFrame:
    """The file: region, date, confirmed and deaths, a row for each region and day."""
    return _long(folder, "confirmed").join(_long(folder, "deaths"), on=["region", "date"])


def _long(folder: Path, what: str) -> pl.DataFrame:
    wide = pl.read_csv(folder / "tabular" / f"regions_covid19_{what}_RU.csv.gz")
    days = [name for name in wide.columns if name[:1].isdigit()]
    long = wide.unpivot(days, index="Province_State", variable_name="date", value_name=what)
    date = pl.col("date").str.to_date("%m/%d/%y")
    return long.select(pl.col("Province_State").alias("region"), date, pl.col(what).cast(pl.Int64))


def invented(regions: int, days: int) -> pl.DataFrame:
    """The same columns, made up."""
    start = datetime(2020, 1, 20, tzinfo=UTC).date()
    return pl.DataFrame(
        [
            {"region": f"region {at:02}", "date": start + timedelta(days=day), "confirmed": at * day, "deaths": day}
            for at in range(regions)
            for day in range(days)
        ]
    )


def weekly(rows: pl.DataFrame, *, weeks: int = 1) -> list[Batch]:
    """A batch for each region and week, or so many weeks, in their order."""
    begun = pl.col("date").dt.truncate(f"{weeks}w").alias("week")
    sorted_rows = rows.with_columns(begun).sort("week", "region", "date")
    return [
        Batch(str(region), f"week of {week}", some.drop("region", "week"))
        for (week, region), some in sorted_rows.group_by(["week", "region"], maintain_order=True)
    ]


def quoted(names: Iterable[str]) -> str:
    """A list as springtide.toml has it."""
    return json.dumps(list(names), ensure_ascii=False)


def make_config(folder: Path, *, more: str = "", port: int = 0) -> Path:
    """A springtide.toml."""
    config = folder / "springtide.toml"
    config.write_text(SETTINGS.format(more=more, port=port), encoding="utf-8")
    return config


def make_home(folder: Path, *, more: str = "") -> Home:
    """A home whose table covid takes rows."""
    return open_home(read_settings(make_config(folder, more=more), environ={}))


def table_as_sent(home: Home) -> pl.DataFrame:
    """The table in the columns of the file, sorted."""
    rows = home.lake.table("covid").scan().collect()
    assert rows["unique_id"].equals(rows["region"])
    sent = rows.select("region", pl.col("ds").dt.date().alias("date"), pl.col("y").alias("confirmed"), "deaths")
    return sent.sort("region", "date")


@contextmanager
def serving(
    config: Path,
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server process: its URL and itself; killed when the block is left."""
    command = [sys.executable, "-W", "error", "-m", "springtide.api.main", "--config", str(config)]
    with (
        (config.parent / "log").open("a") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1], process
        finally:
            process.kill()
            process.wait()
