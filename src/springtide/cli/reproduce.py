"""``springtide reproduce``: a finished run once more."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from springtide.app.report.lookup import find_run
from springtide.cli.opening import open_config
from springtide.cli.saying import json_option, print_json, print_table, progress_bar
from springtide.domain.errors import NotFound

if TYPE_CHECKING:
    from pathlib import Path

    from springtide.pipeline.reproduction import Reproduction

__all__ = ["command"]


@click.command("reproduce")
@click.argument("what", metavar="RUN|MODEL@VERSION|MODEL")
@json_option
@click.pass_obj
def command(config: Path, *, what: str, as_json: bool) -> None:
    """Repeat a finished run from its record, publish nothing, and say what differs; of a MODEL its newest run.

    Exits with 0 when all results are the same, with 1 when not.
    """
    home = open_config(config)
    run = find_run(home, what)  # a wrong name is refused before torch is imported
    if run.kind == "job":
        raise NotFound(
            f"{run.id} is a job, whose record cannot be repeated",
            where="springtide reproduce",
            do="send the same table with the same seed again: `springtide jobs submit`",
        )
    with progress_bar(f"training {run.id} again") as advance:
        from springtide.app.worker import reproduce  # noqa: PLC0415 # torch costs 1.5 s: the bar stands before that

        found = reproduce(home, run.id, progress=lambda at: advance(at.done, f"step {at.epoch}, loss {at.loss:.5g}"))
    if as_json:
        print_json(found)
    else:
        _print(found)
    sys.exit(0 if found.same else 1)


def _print(found: Reproduction) -> None:
    rows = [(one.name, "yes" if one.same else "NO", one.says) for one in (*found.results, *found.circumstances)]
    print_table(f"{found.run} ({found.version}) and its repetition", ("", "same", ""), rows)
    click.secho(f"{'SAME' if found.same else 'DIFFERS'} {found.version}: {found.conclusion}", bold=True)
