"""The database goes away in the middle of runs: ``PYTHONPATH=. python benchmarks/away.py [--seconds 60] [--times 3]``.

Two workers and four models on PostgreSQL. The server is stopped at once, as if its machine had lost power, at random moments of the
runs, stays away for so long, and comes back. Every run must succeed, be published once and trained once.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

from tests import killing
from tests.databases import postgres_away, postgres_server

from springtide.app import queue


def main() -> None:
    """Stop, check and print."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--seconds", type=float, default=60)
    asked.add_argument("--times", type=int, default=3)
    options = asked.parse_args()
    chance, models = random.Random(1), 4
    with tempfile.TemporaryDirectory() as scratch, postgres_server(Path(scratch) / "postgres") as url:
        home = killing.make_home(Path(scratch) / "home", url, models=models)
        with killing.Workers(Path(scratch) / "home", count=2) as workers:
            runs: list[str] = []
            for _ in range(options.times):
                runs += [queue.submit(home, f"m{number}", reasons=("away",)).id for number in range(models)]
                time.sleep(chance.uniform(2, 9))
                states = [
                    f"{run.state} {run.steps[-1].name if run.steps else ''}"
                    for run in map(home.registry.run, runs[-models:])
                ]
                with postgres_away(Path(scratch) / "postgres"):
                    time.sleep(options.seconds)
                back = time.monotonic()
                found = killing.wait_for_all(home, runs, patience_s=600)
                print(
                    f"away for {options.seconds:g} s while: {'; '.join(states)}; all ended {time.monotonic() - back:.1f} s after",
                    flush=True,
                )
            assert all(process.poll() is None for process in workers.processes), "a worker has ended"
        counts = killing.check(home, found, rows=killing.HOURS)
        print(", ".join(f"{name} {count}" for name, count in counts.items()))


if __name__ == "__main__":
    main()
