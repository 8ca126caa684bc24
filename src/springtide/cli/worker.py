"""``springtide worker``: take runs from the queue."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["command"]


@click.command("worker")
@click.option(
    "--concurrency", default=1, show_default=True, type=click.IntRange(min=1), help="Runs at a time, a process each."
)
@click.option("--grace", default=10.0, show_default=True, help="Seconds for a run to end when told to stop.")
@click.pass_obj
def command(config: Path, *, concurrency: int, grace: float) -> None:
    """Take runs from the queue until told to stop; start triggers; go on with what dead workers left."""
    own = [sys.executable, "-m", "springtide.app.work", "--config", str(config), "--grace", str(grace)]
    if concurrency == 1:
        # The worker is a program of its own, which this process becomes: its run's process must be its own child.
        os.execv(sys.executable, own)  # noqa: S606 # no shell
    from springtide.app.up import Program, keep_up  # noqa: PLC0415 # only where there are several

    sys.exit(keep_up([Program(f"worker {number + 1}", own) for number in range(concurrency)], grace_s=grace + 5))
