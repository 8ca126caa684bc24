"""Regions report week by week, and a Keras model is retrained with what has come: a year's service in a small way.

``PYTHONPATH=. python benchmarks/regions_weekly.py [--data DATA] [--framework tensorflow] [--way http]``

The COVID counts of 85 Russian regions: every region sends its week, every seventh of them twice, every eleventh a week late. After each
week a job is sent over HTTP with all rows that have come: new cases of a day from those of the days before. Its model goes on from the one
that serves, and is judged beside it. In the end the table must equal the file; printed are the verdicts.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import polars as pl
from tests import killing
from tests.engines import sandbox_section
from tests.ports import free_port
from tests.regions_sending import Server, send_all
from tests.regions_world import Batch, counts, make_config, make_home, table_as_sent, weekly

from springtide.client import Client

LAGS = 7
FIRST_CASES = pl.date(2020, 3, 1)


def main() -> None:
    """Send, retrain and print."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--data", type=Path, default=Path(os.environ.get("SPRINGTIDE_DATA", "../shared/data")))
    asked.add_argument("--framework", default="tensorflow")
    asked.add_argument("--engine", default="bubblewrap", choices=["bubblewrap", "container"])
    options = asked.parse_args()
    rows = counts(options.data).filter(pl.col("date") >= FIRST_CASES)
    with tempfile.TemporaryDirectory() as scratch, sandbox_section(options.engine) as sandbox:
        folder, port = Path(scratch), free_port()
        home = make_home(folder, more=sandbox)
        config = make_config(folder, port=port, more=sandbox)
        with Server(config, port) as server, killing.Workers(folder, count=1, grace_s=10), Client(server.url) as client:
            late, sent, repeated = [], 0, 0
            for week, batches in weeks(rows):
                now = [batch for number, batch in enumerate(batches) if number % 11 != 10]
                twice = now[::7]
                found = send_all(server, [*late, *now, *twice], senders=85)
                sent, repeated = sent + len(late) + len(now), repeated + found.repeated
                late = [batch for number, batch in enumerate(batches) if number % 11 == 10]
                table = table_as_sent(home)
                if table["date"].n_unique() > 21:
                    retrain(client, folder, table, week, options.framework)
            send_all(server, late, senders=85)
            print(f"{sent + len(late)} batches counted, {repeated} more were repetitions")
        assert table_as_sent(home).equals(rows.sort("region", "date")), "the table is not the file"
        print("the table equals the file")
        for line in reversed(home.registry.journal("covid")):
            print(f"{line.number}. {line.action} covid@{line.version}, serving {line.serving}: {line.reason}")


def weeks(rows: pl.DataFrame) -> list[tuple[str, list[Batch]]]:
    """What all regions send in each week."""
    found: dict[str, list[Batch]] = {}
    for batch in weekly(rows):
        found.setdefault(batch.name, []).append(batch)
    return list(found.items())


def retrain(client: Client, folder: Path, table: pl.DataFrame, week: str, framework: str) -> None:
    """A job with all that has come; it says what it found."""
    new = pl.col("confirmed").diff().over("region")
    lags = [new.shift(lag).over("region").alias(f"new_{lag}_days_ago") for lag in range(1, LAGS + 1)]
    features = table.sort("region", "date").with_columns(new.alias("new"), *lags)
    file = folder / "features.csv"
    features.drop("confirmed", "deaths").drop_nulls().write_csv(file)
    job = client.submit(
        file, target="new", name="covid", time="date", framework=framework, budget_s=8, judge=0.2, question="regression"
    )
    told = client.wait(job["id"])
    if told["failure"] is not None:
        print(f"{week}: {told['failure']['what']}", flush=True)
        return
    figures = {name: round(one["rmse"], 2) for name, one in told["metrics"].items()}
    print(f"{week}: {'better' if told['better'] else 'kept'}, rmse {figures}", flush=True)


if __name__ == "__main__":
    main()
