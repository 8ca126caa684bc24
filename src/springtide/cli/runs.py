"""``springtide runs``: the newest runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from springtide.cli.following import line_of, print_events
from springtide.cli.opening import open_config
from springtide.cli.saying import json_option, print_json, print_table, short_time

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["command"]


@click.command("runs")
@click.option("--follow", "followed", metavar="RUN", help="Print what RUN tells, as it tells it, until it has ended.")
@click.option("--model", help="Only of this model.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="How many.")
@json_option
@click.pass_obj
def command(config: Path, *, followed: str | None, model: str | None, limit: int, as_json: bool) -> None:
    """List the newest runs, or follow one."""
    home = open_config(config)
    if followed is not None:
        home.registry.run(followed)  # refuses an id that nobody knows
        print_events(
            home, followed, lambda event: click.echo(msgspec.json.encode(event).decode() if as_json else line_of(event))
        )
        if home.registry.run(followed).state != "succeeded":
            raise SystemExit(1)
        return
    if model is not None and model not in home.registry.models():
        home.model(model)  # refuses a name that nobody knows
    runs = home.registry.runs(model, limit)
    if as_json:
        print_json(runs)
        return
    rows = [
        (
            run.id,
            run.state,
            run.steps[-1].name if run.steps else "",
            short_time(run.started),
            f"{(run.finished - run.started).total_seconds():.1f}" if run.finished else "",
            run.version,
            run.failure.what if run.failure else "",
        )
        for run in runs
    ]
    print_table("runs", ("run", "state", "last step", "started", "seconds", "version", "failure"), rows)
