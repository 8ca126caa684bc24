"""The worker's process: ``python -m springtide.app.work --config springtide.toml``; it trains nothing itself."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from springtide.app.cells import sweep
from springtide.app.code import code_version
from springtide.app.duties import SchedulerDuties
from springtide.app.home import check_one_store
from springtide.app.live_home import LiveHome
from springtide.app.memory import keep_memory_together
from springtide.app.notifying import announce, of_run
from springtide.app.queue import executor_command
from springtide.domain.errors import SpringtideError, StoreFailed
from springtide.pipeline.durable.worker import Limits, RunWorker

if TYPE_CHECKING:
    from springtide.app.home import Home
    from springtide.domain.run import Run

__all__ = ["main", "worker_for"]

LOG = logging.getLogger("springtide.worker")
MOST_CELLS = 6  # that a job has one after the other, each with the limits of the sandbox
HOST_S, HOST_MEMORY = 3600.0, 16_000_000_000  # of what is done beside them: a table is read and judged
GRACE_S = 10.0  # for a run to come to its end when the worker is told to stop


def worker_for(live: LiveHome) -> RunWorker:
    """The worker of a home, not yet started."""

    def limits(run: Run) -> Limits:
        settings = live.look().settings
        if run.kind == "job":
            cell = settings.sandbox
            return Limits(HOST_S + MOST_CELLS * cell.time.total_seconds(), HOST_MEMORY + cell.memory, "[sandbox]")
        asked, section = settings.models.get(run.model), f"[models.{run.model}.limits]"
        if asked is None:
            return Limits(HOST_S, HOST_MEMORY, section)  # the run itself will say what is wrong
        return Limits(asked.limits.time.total_seconds(), asked.limits.memory, section)

    def ended(run: Run) -> None:
        home = live.look()
        if run.state != "cancelled":
            _tell(run, home)
        try:
            home.run_files.remove(run.id)
        except StoreFailed as error:
            LOG.warning("files of run %s stay in the store, and are of no use: %s", run.id, error)

    home = live.look()
    return RunWorker(
        home.registry,
        home.settings.home.database,
        host=socket.gethostname(),
        code=code_version(),
        command=executor_command(live.config),
        limits=limits,
        ended=ended,
        duties=lambda: SchedulerDuties(live),
        sweep=lambda: sweep(live.look().settings.sandbox),
    )


def _tell(run: Run, home: Home) -> None:
    """Let people know what came of a run, and of a job its sender: of its version, and of what failed, also after it."""
    job = home.registry.job(run.id) if run.kind == "job" else None
    entry = home.registry.entry_of(run)
    if entry is not None and run.version is not None:
        announce(home, of_run(run, entry, home.registry.version(run.model, run.version).verdict), job=job)
    if run.failure is not None:
        announce(home, of_run(run), job=job)


def main(arguments: list[str] | None = None) -> int:
    """Work until told to stop; the exit code is 2 when it cannot start."""
    parser = argparse.ArgumentParser(description="A Springtide worker.")
    parser.add_argument("--config", type=Path, default=Path("springtide.toml"))
    parser.add_argument("--grace", type=float, default=GRACE_S, help="Seconds for a run to end when told to stop.")
    asked = parser.parse_args(arguments)
    keep_memory_together()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("springtide").setLevel(logging.INFO)
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    try:
        worker = worker_for(LiveHome(asked.config, check=check_one_store))
        me = worker.start()
    except SpringtideError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 2
    sys.stdout.write(f"Springtide worker {me.id} takes runs from the queue\n")
    sys.stdout.flush()
    while not told.wait(1.0):
        pass
    worker.stop(grace_s=asked.grace)
    sys.stdout.flush()
    os._exit(0)  # threads of a run that was handed back wait for ever


if __name__ == "__main__":
    sys.exit(main())
