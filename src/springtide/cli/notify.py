"""``springtide notify``: what has not reached the people who want to know."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from springtide.app.notifying import try_places, undelivered
from springtide.cli.opening import open_config
from springtide.cli.saying import json_option, print_json, print_table, short_time

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["command"]


@click.command("notify")
@click.option("--test", is_flag=True, help="Send a test to every place, and say what each answered.")
@json_option
@click.pass_obj
def command(config: Path, *, test: bool, as_json: bool) -> None:
    """List the notices that wait for another try or were given up, newest first."""
    home = open_config(config)
    if test:
        tried = try_places(home)
        if as_json:
            print_json(tried)
        else:
            answers = [(one.place, "yes" if one.delivered else "no", one.answer) for one in tried]
            print_table("test", ("place", "arrived", "answer"), answers)
        if not all(one.delivered for one in tried):
            sys.exit(1)
        return
    waiting = undelivered(home)
    if as_json:
        print_json(waiting)
        return
    rows = [
        (short_time(one.at), one.title, one.place, one.state, one.tries, short_time(one.next_try), one.failure)
        for one in waiting
    ]
    columns = ("when (UTC)", "notice", "place", "state", "tries", "next try", "failure")
    print_table("not delivered", columns, rows, numbers=("tries",))
