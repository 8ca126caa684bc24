"""``springtide cancel``: stop a run."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

import click

from springtide.app.queue import cancel
from springtide.cli.opening import open_config
from springtide.cli.saying import json_option, print_json

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["command"]


@click.command("cancel")
@click.argument("run")
@json_option
@click.pass_obj
def command(config: Path, *, run: str, as_json: bool) -> None:
    """Stop RUN: at once where it waits, within two seconds where a worker has it. What it has done is thrown away."""
    stopped = cancel(open_config(config), run, by=getpass.getuser())
    if as_json:
        print_json(stopped)
    else:
        click.echo(f"run {run} is {'cancelled' if stopped.ended else 'being stopped'}")
