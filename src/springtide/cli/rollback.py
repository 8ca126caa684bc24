"""``springtide rollback``: let the champion before serve again."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

import click

from springtide.app.answers import Answers
from springtide.cli.journal import print_entry
from springtide.cli.opening import open_config
from springtide.cli.saying import json_option

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["command"]


@click.command("rollback")
@click.argument("model")
@click.option("--to", type=int, help="An earlier champion; the one before this when not given.")
@json_option
@click.pass_obj
def command(config: Path, *, model: str, to: int | None, as_json: bool) -> None:
    """Let the champion before this one of MODEL serve again."""
    print_entry(Answers(open_config(config)).rollback(model, by=getpass.getuser(), to=to), as_json=as_json)
