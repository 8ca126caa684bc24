"""What a tick of the scheduler costs with a thousand models, each with a cron of every minute.

Idle ticks come once a second; at the full minute all models fire at once, and `submit` does nothing. Beside it the first
tick, which reads what is stored, and one after a restart. On SQLite, and on PostgreSQL where `pgserver` is installed.
Run: ``python benchmarks/scheduler.py``
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from springtide.app.home import open_home, read_settings
from springtide.app.ingestion import Brought
from springtide.app.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MODELS = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
MINUTES = 10
START = datetime(2026, 3, 2, 12, 0, 1, tzinfo=UTC)
MODEL = """
[models.m{0}]
task = "forecast"
table = "candles"
[models.m{0}.retrain]
cron = "* * * * *"
timezone = "Europe/Moscow"
"""


def main() -> None:
    print(f"{MODELS} models with a cron of every minute; milliseconds a tick")
    print(f"{'':12}{'first':>9}{'restart':>9}{'idle p50':>10}{'idle p99':>10}{'all p50':>9}{'all max':>9}")
    with tempfile.TemporaryDirectory() as folder:
        measure("SQLite", Path(folder), f"sqlite:///{folder}/springtide.db")
    if find_spec("pgserver"):
        with tempfile.TemporaryDirectory() as folder, postgres(Path(folder) / "server") as url:
            measure("PostgreSQL", Path(folder), url)


def measure(name: str, folder: Path, database: str) -> None:
    file = folder / "springtide.toml"
    places = f'[home]\nstore = "{folder}/var"\n'
    file.write_text(places + "".join(MODEL.format(number) for number in range(MODELS)))
    home = open_home(read_settings(file, environ={"SPRINGTIDE_HOME__DATABASE": database}))
    now, submitted = [START], []

    def scheduler() -> Scheduler:
        return Scheduler(
            home,
            submit=lambda model, reasons: submitted.append((model, reasons)),
            ingest=lambda source: Brought(source, source, None),
            now=lambda: now[0],
            announce=lambda _: None,
        )

    ticking = scheduler()
    first = milliseconds(ticking.tick)
    idle, all_fire = [], []
    for _ in range(60 * MINUTES):
        now[0] += timedelta(seconds=1)
        spent = milliseconds(ticking.tick)
        (all_fire if now[0].second == 0 else idle).append(spent)
    assert len(submitted) == MODELS * MINUTES
    restart = milliseconds(scheduler().tick)
    assert len(submitted) == MODELS * MINUTES
    print(
        f"{name:12}{first:9.1f}{restart:9.1f}{statistics.median(idle):10.2f}"
        f"{statistics.quantiles(idle, n=100)[98]:10.2f}{statistics.median(all_fire):9.1f}{max(all_fire):9.1f}"
    )


def milliseconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1e3


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package warns where there is no session folder
        import pgserver  # noqa: PLC0415 # only where it is installed
    server = pgserver.get_server(folder, cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()


if __name__ == "__main__":
    main()
