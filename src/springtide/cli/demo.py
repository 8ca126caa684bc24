"""``springtide demo``: the whole loop on a simulated exchange, in a folder of its own."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from springtide.app.answers import Answers
from springtide.app.ingestion import ingest
from springtide.app.report.lookup import find_run, report_on
from springtide.cli.forecast import plot_answer
from springtide.cli.opening import open_config
from springtide.cli.retrain import print_outcome, run_with_progress
from springtide.cli.saying import json_option, print_json, progress_bar, writing
from springtide.domain.clock import utc_now
from springtide.domain.errors import Conflict

if TYPE_CHECKING:
    from datetime import datetime

    from springtide.app.home import Home

__all__ = ["SETTINGS", "command"]

MARK = ".springtide-demo"  # only a folder with this file in it is emptied

SETTINGS = """\
# Written by `springtide demo`. The candles are synthetic: a simulated exchange invents them.
[home]
store = "./var"
database = "sqlite:///var/springtide.db"

[sources.candles]
kind = "simulator"
symbols = ["BTC/USDT", "ETH/USDT", "SOL/USDT"]
history = "2y"

[models.coins]
task = "forecast"
table = "candles"
budget = "10s"
[models.coins.gate]
judge = "120d"
first = "always"
"""
PASSING = timedelta(days=30)  # of simulated time between the two runs


@click.command("demo")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Where to; emptied first if an earlier demo made it.",
)
@json_option
@click.pass_obj
def command(_config: Path, *, folder: Path, as_json: bool) -> None:
    """Simulated candles, a first model, thirty days later a challenger; a verdict, a forecast and a picture."""
    config = _folder(folder)
    home = open_config(config)
    now = utc_now()
    _say("1/5  candles of a simulated exchange (synthetic: a seeded process invents them), as of 30 days ago", as_json)
    _collect(home, now - PASSING, as_json)
    _say("2/5  a first model, judged on 120 days that it has not seen", as_json)
    first = run_with_progress(home, "coins", collect=False, now=lambda: now - PASSING)
    _say("3/5  thirty days of candles later: a challenger, fine-tuned from the champion", as_json)
    _collect(home, now, as_json)
    second = run_with_progress(home, "coins", collect=False)
    if not as_json:
        print_outcome(first)
        print_outcome(second)
    _say("4/5  what the champion says now", as_json)
    answer = _forecast(home, folder, as_json=as_json)
    if as_json:
        print_json({"verdicts": [first.verdict, second.verdict], "forecast": answer})
        return
    _say("5/5  look around", as_json)
    for line in (
        "models",
        "tables candles",
        "journal coins",
        "report coins@1",
        "forecast coins --series ETH/USDT",
        "retrain coins",
        "serve",
    ):
        _say(f"     springtide -c {config} {line}", as_json)


def _collect(home: Home, moment: datetime, as_json: bool) -> None:  # noqa: FBT001 # one flag, passed on
    """Bring in the simulated candles up to a moment."""
    with progress_bar("candles") as advance:
        brought = ingest(
            home, "candles", now=lambda: moment, told=lambda so_far, done: advance(done, f"{so_far.new:,} new rows")
        )
    _say(f"     {brought.new:,} new rows in table candles, version {brought.version}", as_json)


def _say(text: str, as_json: bool) -> None:  # noqa: FBT001 # one flag, passed on
    click.secho(text, err=as_json, bold=text[:1].isdigit())


def _folder(folder: Path) -> Path:
    """An empty demo folder with its settings; a folder that is not a demo's is never touched."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise Conflict(f"{folder} holds something else", where=str(folder.absolute()), do="choose another --folder")
    config = folder / "springtide.toml"
    with writing(folder):
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MARK).touch()
        config.write_text(SETTINGS, encoding="utf-8")
    return config


def _forecast(home: Home, folder: Path, *, as_json: bool) -> dict[str, Any]:
    """Print a line, draw a picture and write the report of the newest run."""
    answers = Answers(home)
    answers.shelf.look()
    answer = answers.forecast("coins")
    columns = answer["columns"]
    last = len(columns["ds"]) // len(answer["series"]) - 1
    _say(
        f"     {answer['series'][0]} at {columns['ds'][last]:%Y-%m-%d %H:%M} UTC: median {columns['coins'][last]:,.2f}, "
        f"90 % between {columns['coins-lo-90'][last]:,.2f} and {columns['coins-hi-90'][last]:,.2f}",
        as_json,
    )
    picture = folder / "forecast.png"
    plot_answer(home, answers, answer, picture)
    _say(f"     picture: {picture}", as_json)
    report = folder / "report.html"
    report.write_text(report_on(home.registry, find_run(home, "coins")), encoding="utf-8")
    _say(f"     report of the newest run: {report}", as_json)
    return answer
