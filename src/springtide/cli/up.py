"""``springtide up``: everything, until told to stop."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from springtide.app.home import open_home, read_settings
from springtide.app.up import Program, keep_up

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["command"]

GRACE_S = 10.0


@click.command("up")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(min=1), help="Runs at a time.")
@click.pass_obj
def command(config: Path, *, workers: int) -> None:
    """Serve, collect rows, start runs by their triggers and work them off; what dies is started again. Ctrl-C stops all."""
    home = open_home(read_settings(config))  # what is wrong with the settings is said once, here
    programs = [Program("server", [sys.executable, "-m", "springtide.api.main", "--config", str(config)])]
    programs += [
        Program(f"worker {number + 1}", [sys.executable, "-m", "springtide.app.work", "--config", str(config)])
        for number in range(workers)
    ]
    if home.settings.streams.url is not None:
        programs.append(Program("stream", [sys.executable, "-m", "springtide.app.streaming", "--config", str(config)]))
    sys.exit(keep_up(programs, grace_s=GRACE_S + 5))
