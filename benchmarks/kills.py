"""Workers killed with -9 a hundred times: ``PYTHONPATH=. python benchmarks/kills.py [--kills 50] [--databases sqlite postgresql]``.

Two workers, four models that learn from one table. A worker that has a run is killed as soon as each of the run's steps has begun, in
turn, and at random moments of the training; another is started in its place. In the end every run must have succeeded,
published once, trained once (a training goes on from its checkpoint), and every row must be in the table once.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests import killing
from tests.databases import postgres_server

if TYPE_CHECKING:
    from collections.abc import Iterator


def main() -> None:
    """Kill, check and print."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--kills", type=int, default=50, help="on each database")
    asked.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    asked.add_argument("--seed", type=int, default=1)
    options = asked.parse_args()
    for kind in options.databases:
        with tempfile.TemporaryDirectory() as scratch, database(kind, Path(scratch)) as url:
            home = killing.make_home(Path(scratch) / "home", url, models=4)
            began = time.monotonic()
            with killing.Workers(Path(scratch) / "home", count=2) as workers:
                models = [f"m{number}" for number in range(4)]
                runs = killing.kill_many(home, workers, models, kills=options.kills, seed=options.seed)
                found = killing.wait_for_all(home, runs, patience_s=600)
            counts = killing.check(home, found, rows=killing.HOURS)
            print(
                f"{kind}: {sum(workers.kills.values())} kills in {time.monotonic() - began:.0f} s: {dict(workers.kills)}"
            )
            print("   ", ", ".join(f"{name} {count}" for name, count in counts.items()), flush=True)


@contextmanager
def database(kind: str, scratch: Path) -> Iterator[str]:
    """The URL of an empty database."""
    if kind == "sqlite":
        yield "sqlite:///var/springtide.db"
        return
    with postgres_server(scratch / "postgres") as url:
        yield url


if __name__ == "__main__":
    main()
