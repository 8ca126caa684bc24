"""``springtide promote``: let a version serve, by hand."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

import click

from springtide.app.answers import Answers
from springtide.cli.journal import print_entry
from springtide.cli.opening import open_config
from springtide.cli.saying import json_option
from springtide.domain.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["command"]


@click.command("promote")
@click.argument("version", metavar="MODEL@VERSION")
@json_option
@click.pass_obj
def command(config: Path, *, version: str, as_json: bool) -> None:
    """Let MODEL@VERSION serve; it must reproduce its own probe first, and the journal says who did it."""
    model, at, number = version.partition("@")
    if not (at and number.isdigit()):
        raise SettingsError(f"{version!r} names no version", where="springtide promote", do="write MODEL@NUMBER: btc@3")
    print_entry(Answers(open_config(config)).promote(model, int(number), by=getpass.getuser()), as_json=as_json)
