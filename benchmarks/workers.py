"""Several workers on PostgreSQL and S3: ``PYTHONPATH=. python benchmarks/workers.py [--models 60] [--scaling 12]``.

First, three workers as processes of their own take one run of each model off the queue; half way one is killed with -9 and
not started again. Every run must end once, published once, trained once. Then the time of the same number of runs with one worker
and with two, in turn, one thread each; what is measured begins when the workers stand ready. The S3 server is moto's, on loopback.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tests import killing, stores
from tests.databases import new_database, postgres_server
from tests.unit.cli.world import springtide

from springtide.app import queue

if TYPE_CHECKING:
    from springtide.app.home import Home


def main() -> None:
    """Run, check and print."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--models", type=int, default=60)
    asked.add_argument("--scaling", type=int, default=12, help="models of the comparison of one worker with two")
    options = asked.parse_args()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = stack.enter_context(postgres_server(scratch / "postgres"))
        s3 = stack.enter_context(stores.s3_server())
        stores.make_bucket(s3, "models")
        os.environ.update(stores.s3_environment(s3))

        home = make_home(scratch, "three", database, options.models)
        with killing.Workers(scratch / "three", count=3, grace_s=10) as workers:
            wait_until_ready(home, 3)
            seconds = three_workers(home, workers, options.models)
        print(f"three workers, {options.models} models: {seconds:.0f} s", flush=True)

        times: dict[int, list[float]] = {1: [], 2: []}
        for turn in range(2):
            for count, seconds_of in times.items():
                name = f"turn{turn}-{count}"
                home = make_home(scratch, name, database, options.scaling)
                with killing.Workers(scratch / name, count=count, grace_s=10) as workers:
                    wait_until_ready(home, count)
                    seconds_of.append(work_off(home, options.scaling))
        one, two = sum(times[1]), sum(times[2])
        print(
            f"{options.scaling} models, twice: one worker {one:.1f} s, two {two:.1f} s, {one / two:.2f} times as fast"
        )


def make_home(scratch: Path, name: str, database: str, models: int) -> Home:
    """A home of its own on the servers, with its rows already in the lake."""
    home = killing.make_home(scratch / name, new_database(database), store=f"s3://models/{name}", models=models)
    springtide(scratch / name, "ingest")
    return home


def wait_until_ready(home: Home, count: int) -> None:
    """Until so many workers beat, and their processes for steps have had time to start."""
    while len(home.registry.workers()) < count:
        time.sleep(0.1)
    time.sleep(10)


def submit_all(home: Home, models: int) -> list[str]:
    """One run of each model."""
    return [queue.submit(home, f"m{number}", reasons=("a benchmark",)).id for number in range(models)]


def three_workers(home: Home, workers: killing.Workers, models: int) -> float:
    """Work off a run of each model, and kill a worker when half of them have ended."""
    began = time.monotonic()
    runs = submit_all(home, models)
    while sum(home.registry.run(run).ended for run in runs) < models / 2:
        time.sleep(0.2)
    busy = next(run for run in map(home.registry.run, runs) if run.state == "running")
    workers.start = lambda: workers.processes[0]  # type: ignore[method-assign] # nobody starts it again
    assert workers.kill(busy, "half way")
    print(
        f"{busy.worker} was killed after {time.monotonic() - began:.0f} s, in step {busy.steps[-1].name} of {busy.id}"
    )
    found = killing.wait_for_all(home, runs, patience_s=1200)
    seconds = time.monotonic() - began
    counts = killing.check(home, found, rows=killing.HOURS)
    print(", ".join(f"{name} {count}" for name, count in counts.items()))
    by_worker = {
        worker: sum(run.worker == worker for run in found) for worker in sorted({str(run.worker) for run in found})
    }
    print("ended by", by_worker)
    return seconds


def work_off(home: Home, models: int) -> float:
    """Seconds from the first submission to the end of the last run."""
    began = time.monotonic()
    killing.wait_for_all(home, submit_all(home, models), patience_s=1200)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
