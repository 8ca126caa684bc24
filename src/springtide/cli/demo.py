"""``springtide demo``: the whole loop on a simulated exchange, in a folder of its own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from springtide.app.answers import utc_now
from springtide.app.ingestion import ingest
from springtide.cli.forecast import plot_answer
from springtide.cli.opening import open_config
from springtide.cli.retrain import print_outcome, run_with_progress
from springtide.cli.saying import json_option, print_json, progress_bar
from springtide.domain.errors import Conflict

if TYPE_CHECKING:
    from springtide.app.home import Home
    from springtide.pipeline.retraining import Outcome

__all__ = ["SETTINGS", "command"]

MARK = ".springtide-demo"  # only a folder with this file in it is emptied

SETTINGS = """\
# Written by `springtide demo`. The candles are synthetic: a simulated exchange invents them.
[home]
store = "{folder}/var"
database = "sqlite:///{folder}/var/springtide.db"

[sources.candles]
kind = "simulator"
symbols = ["BTC/USDT", "ETH/USDT", "SOL/USDT"]
history = "1y"

[models.coins]
task = "forecast"
table = "candles"
budget = "15s"
validation = "30d"
[models.coins.gate]
judge = "60d"
"""


@click.command("demo")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), default=Path("demo"), show_default=True)
@click.option("--keep", is_flag=True, help="Go on in a demo folder that is there, instead of beginning anew.")
@json_option
@click.pass_obj
def command(_config: Path, *, folder: Path, keep: bool, as_json: bool) -> None:
    """Simulated candles, a model, a verdict, a forecast and a picture, in about a minute."""
    config = _folder(folder, keep=keep)
    home = open_config(config)
    _say("1/4  candles of a simulated exchange (synthetic: invented by a seeded process)", as_json)
    with progress_bar("candles") as advance:
        brought = ingest(
            home, "candles", now=utc_now, told=lambda so_far, done: advance(done, f"{so_far.new:,} new rows")
        )
    _say(f"     {brought.new:,} new rows in table candles, version {brought.version}", as_json)
    _say("2/4  train a network, judge it on 60 days that it has not seen", as_json)
    outcome = run_with_progress(home, "coins", collect=False)
    if not as_json:
        print_outcome(outcome)
    _say("3/4  what the champion says now", as_json)
    answer = _forecast(home, outcome, folder, as_json=as_json)
    _say("4/4  look around", as_json)
    for command_line in ("models", "tables candles", "journal coins", "forecast coins", "serve"):
        _say(f"     springtide -c {config} {command_line}", as_json)
    if as_json:
        print_json({"verdict": outcome.verdict, "forecast": answer})


def _say(text: str, as_json: bool) -> None:  # noqa: FBT001 # one flag, passed on
    click.secho(text, err=as_json, bold=text[:1].isdigit())


def _folder(folder: Path, *, keep: bool) -> Path:
    """An empty demo folder with its settings; a folder that is not a demo's is never touched."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise Conflict(f"{folder} holds something else", where=str(folder.absolute()), do="choose another --folder")
    if folder.exists() and not keep:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()
    config = folder / "springtide.toml"
    if not config.exists():
        config.write_text(SETTINGS.format(folder=folder.as_posix()), encoding="utf-8")
    return config


def _forecast(home: Home, outcome: Outcome, folder: Path, *, as_json: bool) -> dict[str, Any] | None:
    """Print a line and draw a picture, if a version serves."""
    from springtide.app.answers import Answers  # noqa: PLC0415 # ONNX Runtime only now

    if outcome.entry.serving is None:
        _say("     no version serves: the first one did not beat the trivial rivals, so nothing was promoted", as_json)
        return None
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
    return answer
