"""Every framework as a service: a model from scratch, then fine-tuned with later rows, each as a job over HTTP.

``PYTHONPATH=. python benchmarks/frameworks.py [--data DATA] [--engine bubblewrap|container]``

The COVID counts of 85 Russian regions: new cases of a day from those of the days before. The first job has the days to 10 April; what
it gives back is sent with the days to 1 May as the model of the second, whose later days judge both.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

import polars as pl
from tests import killing
from tests.engines import sandbox_section
from tests.ports import free_port
from tests.regions_sending import Server
from tests.regions_world import counts

from springtide.app.home import open_home, read_settings
from springtide.client import Client
from springtide.domain.job import FRAMEWORKS

SPLIT = pl.date(2020, 4, 10)


def main() -> None:
    """Train, fine-tune and print."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--data", type=Path, default=Path(os.environ.get("SPRINGTIDE_DATA", "../shared/data")))
    asked.add_argument("--engine", default="bubblewrap", choices=["bubblewrap", "container"])
    options = asked.parse_args()
    table = features(options.data)
    with ExitStack() as stack:
        folder, port = Path(stack.enter_context(tempfile.TemporaryDirectory())), free_port()
        sandbox = stack.enter_context(sandbox_section(options.engine))
        config = folder / "springtide.toml"
        config.write_text(f"[serve]\nport = {port}\n{sandbox}")
        open_home(read_settings(config, environ={})).registry.engine.dispose()
        early, late = folder / "early.csv", folder / "late.csv"
        table.filter(pl.col("date") < SPLIT).write_csv(early)
        table.write_csv(late)
        print(f"{options.engine}: rmse on later days that neither has learned from; format, ONNX difference, seconds")
        with Server(config, port) as server, killing.Workers(folder, count=1, grace_s=10), Client(server.url) as client:
            for framework in FRAMEWORKS:
                one(client, folder, framework, early, late)


def features(data: Path) -> pl.DataFrame:
    """A row a region and day: new cases, and those of the seven days before."""
    new = pl.col("confirmed").diff().over("region")
    lags = [new.shift(lag).over("region").alias(f"new_{lag}_days_ago") for lag in range(1, 8)]
    rows = counts(data).sort("region", "date").with_columns(new.alias("new"), *lags)
    return rows.filter(pl.col("date") >= pl.date(2020, 3, 10)).drop("confirmed", "deaths").drop_nulls().sort("date")


def one(client: Client, folder: Path, framework: str, early: Path, late: Path) -> None:
    """From scratch, then with what it gave back."""
    asked = {"target": "new", "time": "date", "question": "regression", "budget_s": 10}
    first = client.wait(client.submit(early, framework=framework, **asked)["id"])
    if first["failure"] is not None:
        print(f"{framework:<13} {first['failure']['what']}", flush=True)
        return
    archive = client.download(first["id"], to=folder / f"{framework}.zip")
    second = client.wait(client.submit(late, model=archive, framework=framework, **asked)["id"])
    if second["failure"] is not None:
        print(f"{framework:<13} fine-tuning: {second['failure']['what']}", flush=True)
        return
    steps = {one["name"]: one for one in second["steps"]}
    figures = second["metrics"]
    print(
        f"{framework:<13} scratch {figures['the given model']['rmse']:7.2f}, fine-tuned {figures['challenger']['rmse']:7.2f}, "
        f"mean {figures['mean']['rmse']:7.2f}; {'better' if second['better'] else 'kept'}; "
        f"{steps['train']['result']['format']}, {steps['export']['result'].get('parity', float('nan')):.1e}, "
        f"{sum(one['seconds'] or 0 for one in first['steps']):.1f} and {sum(one['seconds'] or 0 for one in second['steps']):.1f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
