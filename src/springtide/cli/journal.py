"""``springtide journal``: who served when, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from springtide.cli.opening import open_config
from springtide.cli.saying import json_option, print_json, print_table, short_time

if TYPE_CHECKING:
    from pathlib import Path

    from springtide.domain.model import JournalEntry

__all__ = ["command", "print_entry"]


@click.command("journal")
@click.argument("model")
@json_option
@click.pass_obj
def command(config: Path, *, model: str, as_json: bool) -> None:
    """Print the journal of MODEL, newest first."""
    home = open_config(config)
    if model not in home.registry.models():
        home.model(model)  # refuses a name that nobody knows
    entries = home.registry.journal(model)
    if as_json:
        print_json(entries)
        return
    rows = [
        (one.number, short_time(one.at), one.action, one.version, one.serving, one.by, one.reason, one.warning)
        for one in entries
    ]
    print_table(model, ("no", "when (UTC)", "action", "version", "serving", "by", "reason", "warning"), rows)


def print_entry(entry: JournalEntry, *, as_json: bool) -> None:
    """Say what a promotion or a rollback changed."""
    if as_json:
        print_json(entry)
        return
    before = "none" if entry.previous is None else f"{entry.model}@{entry.previous}"
    click.echo(f"{entry.action}: {entry.model}@{entry.serving} serves (before: {before}); journal line {entry.number}")
    if entry.warning:
        click.secho(f"warning: {entry.warning}", fg="yellow", err=True)
