"""Jobs: what they cost beside the same training by hand, and how many of them two workers get through.

``PYTHONPATH=. python benchmarks/jobs.py [--jobs 20] [--queued 200] [--engine bubblewrap]``

*By hand*: the same tasks (train, predict, convert) by the same trainers and the same Python, started as a command. *The job*: from
`submit_job` to its end, by one idle worker. Both in turn, so that they meet the same machine. Then so many jobs are sent at once
and worked off by two workers; every one must end, and none twice.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tests import killing
from tests.engines import sandbox_section
from tests.environments import ROOT, find_environment

from springtide.app import jobs
from springtide.app.home import open_home, read_settings
from springtide.domain.job import JobParams
from springtide.pipeline.jobs.table import cut, read_table

if TYPE_CHECKING:
    from springtide.app.home import Home

PARAMS = JobParams(target="sold", framework="lightgbm", budget_s=5, params={"epochs": 30})


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--jobs", type=int, default=20)
    asked.add_argument("--queued", type=int, default=200)
    asked.add_argument("--engine", default="bubblewrap", choices=["bubblewrap", "container"])
    options = asked.parse_args()
    with tempfile.TemporaryDirectory() as scratch, sandbox_section(options.engine) as sandbox:
        folder = Path(scratch)
        (folder / "springtide.toml").write_text(sandbox)
        home = open_home(read_settings(folder / "springtide.toml", environ={}))
        sent = {"data": jobs.Sent.of("sales.csv", sales(400))}
        with killing.Workers(folder, count=1, grace_s=10):
            wait_for(home, jobs.submit_job(home, PARAMS, sent).id)  # the first waits for the worker to start
            beside(home, sent, folder, options.jobs)
        with killing.Workers(folder, count=2, grace_s=10):
            work_off(home, sent, options.queued)


def beside(home: Home, sent: dict[str, jobs.Sent], folder: Path, count: int) -> None:
    """The same training as a job and by hand, in turn."""
    by_hand, as_jobs = [], []
    for number in range(count):
        by_hand.append(train_by_hand(sales(400), folder / f"hand{number}"))
        began = time.monotonic()
        wait_for(home, jobs.submit_job(home, PARAMS, sent).id)
        as_jobs.append(time.monotonic() - began)
    over = [job - hand for job, hand in zip(as_jobs, by_hand, strict=True)]
    print(
        f"by hand p50 {statistics.median(by_hand):.2f} s, as a job {statistics.median(as_jobs):.2f} s, "
        f"overhead p50 {statistics.median(over):.2f} s, most {max(over):.2f} s",
        flush=True,
    )


def train_by_hand(data: bytes, folder: Path) -> float:
    """Seconds of the three tasks as a command in the environment of the sandbox, from the same rows."""
    table = read_table(data, "sales.csv", PARAMS)
    parts = cut(table, PARAMS.judge, not_before=None)
    folder.mkdir()
    parts.training.write_parquet(folder / "training.parquet")
    parts.judging.drop("sold").write_parquet(folder / "judging.parquet")
    common = {
        "task": table.question,
        "columns": [{"name": one.name, "kind": one.kind} for one in table.columns],
        "target": "sold",
        "budget_s": PARAMS.budget_s,
        "params": dict(PARAMS.params),
    }
    after = {"model": str(folder / "0" / "model.txt"), "preprocessing": str(folder / "0" / "preprocessing.json")}
    tasks = [
        {"mode": "train", "data": str(folder / "training.parquet"), "framework": "lightgbm"},
        {"mode": "predict", "data": str(folder / "judging.parquet"), **after},
        {"mode": "convert", "data": str(folder / "training.parquet"), **after},
    ]
    paths = []
    for number, task in enumerate(tasks):
        paths.append(folder / f"{number}.json")
        paths[-1].write_text(json.dumps({**common, **task, "out": str(folder / str(number))}))
    library = folder / "lib" / "springtide"
    for part in ("sdk", "trainers"):
        shutil.copytree(ROOT / "src" / "springtide" / part, library / part)
    python = find_environment("boosting", folder).python
    began = time.monotonic()
    subprocess.run(
        [python, "-m", "springtide.trainers.main", *paths],
        env={"PYTHONPATH": str(library.parent), "PATH": "/usr/bin:/bin"},
        check=True,
        capture_output=True,
    )
    return time.monotonic() - began


def work_off(home: Home, sent: dict[str, jobs.Sent], count: int) -> None:
    """Send many at once, and see how they end."""
    ids = [jobs.submit_job(home, PARAMS, sent).id for _ in range(count)]
    began = time.monotonic()
    found = killing.wait_for_all(home, ids, patience_s=3600)
    seconds = time.monotonic() - began
    published = Counter(version.manifest.run for run in found for version in home.registry.versions(run.model))
    print(
        f"{count} jobs on two workers: {dict(Counter(run.state for run in found))}, "
        f"lost {sum(run.id not in published for run in found)}, twice {sum(times > 1 for times in published.values())}, "
        f"{60 * count / seconds:.1f} jobs a minute"
    )


def wait_for(home: Home, job: str) -> None:
    (ended,) = killing.wait_for_all(home, [job], patience_s=300)
    assert ended.state == "succeeded", ended.failure


def sales(days: int) -> bytes:
    """A small table; synthetic."""
    chance = np.random.default_rng(1)
    sizes, towns = chance.integers(10, 30, days), chance.integers(0, 3, days)
    sold = 3 * sizes + 5 * towns + chance.normal(size=days)
    lines = ["size,town,sold", *(f"{a},t{b},{c:.3f}" for a, b, c in zip(sizes, towns, sold, strict=True))]
    return "\n".join(lines).encode()


if __name__ == "__main__":
    main()
