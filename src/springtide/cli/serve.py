"""``springtide serve``: answer over HTTP."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["command"]


@click.command("serve")
@click.pass_obj
def command(config: Path) -> None:
    """Answer over HTTP where [serve] says, until told to stop; a promotion is picked up without a restart."""
    # The server is a program of its own, which this process becomes: the command line knows nothing of HTTP.
    os.execv(sys.executable, [sys.executable, "-m", "springtide.api.main", "--config", str(config)])  # noqa: S606 # no shell
