"""``springtide report``: a run on one page of HTML."""

from __future__ import annotations

from pathlib import Path

import click

from springtide.app.report.lookup import find_run, report_on
from springtide.cli.opening import open_config
from springtide.cli.saying import writing

__all__ = ["command"]


@click.command("report")
@click.argument("what", metavar="RUN|MODEL@VERSION|MODEL")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Where to.  [default: RUN.html]")
@click.pass_obj
def command(config: Path, *, what: str, out: Path | None) -> None:
    """Write what a run found as one HTML file that needs nothing else; of a MODEL its newest run."""
    home = open_config(config)
    run = find_run(home, what)
    path = out or Path(f"{run.id}.html")
    with writing(path):
        path.write_text(report_on(home.registry, run), encoding="utf-8")
    click.echo(f"wrote {path}")
