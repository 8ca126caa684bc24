"""``springtide forecast``: what the champion says now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from springtide.app.answers import Answers
from springtide.cli.opening import open_config
from springtide.cli.saying import check_picture, json_option, print_json, print_table, short_time, writing
from springtide.domain.rows import SERIES, TIME

if TYPE_CHECKING:
    from collections.abc import Mapping

    from springtide.app.home import Home

__all__ = ["command", "plot_answer", "write_forecast"]

PICTURED_HORIZONS = 6  # of history before the forecast
HINDCASTS = 4


@click.command("forecast")
@click.argument("model")
@click.option("--series", multiple=True, help="unique_id, repeatable; every series of the model when not given.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Also write CSV and Parquet, a file a cutoff."
)
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Also draw one series: PNG, SVG or PDF.")
@json_option
@click.pass_obj
def command(
    config: Path, *, model: str, series: tuple[str, ...], out: Path | None, plot: Path | None, as_json: bool
) -> None:
    """Print what MODEL's champion says of the steps to come."""
    if plot:
        check_picture(plot, where="springtide forecast --plot")
    home = open_config(config)
    home.model(model)
    answers = Answers(home)
    answers.shelf.look()
    answer = answers.forecast(model, series)
    written: list[Path] = []
    if out:
        with writing(out):
            written = write_forecast(answer, out)
    if plot:
        with writing(plot):
            plot_answer(home, answers, answer, plot)
    if as_json:
        print_json(answer)
    else:
        _print(answer)
    for path in [*written, *([plot] if plot else [])]:
        click.echo(f"wrote {path}", err=True)


def write_forecast(answer: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write the forecast as ``MODEL_CUTOFF.csv`` and ``.parquet``, a pair of files for every cutoff."""
    import polars as pl  # noqa: PLC0415 # only --out needs a frame

    folder.mkdir(parents=True, exist_ok=True)
    frame = pl.DataFrame(answer["columns"])
    written = []
    for (cutoff,), part in frame.partition_by("cutoff", as_dict=True).items():
        stem = folder / f"{answer['model']}_{cutoff:%Y-%m-%dT%H%M%SZ}"
        part.write_csv(stem.with_suffix(".csv"), datetime_format="%Y-%m-%dT%H:%M:%SZ")
        part.write_parquet(stem.with_suffix(".parquet"))
        written += [stem.with_suffix(".csv"), stem.with_suffix(".parquet")]
    return written


def plot_answer(home: Home, answers: Answers, answer: Mapping[str, Any], path: Path) -> None:
    """Draw the first series of an answer with its recent past and the forecasts that came due."""
    from springtide.app.hindcast import hindcasts, newest_rows  # noqa: PLC0415 # only pictures need them
    from springtide.cli.plot import draw_forecast  # noqa: PLC0415 # matplotlib costs 0.7 s

    name, series = answer["model"], answer["series"][0]
    model = answers.shelf.place(name).now.model
    table = home.model(name).table
    mine = [place for place, one in enumerate(answer["columns"][SERIES]) if one == series]
    columns = {column: [values[place] for place in mine] for column, values in answer["columns"].items()}
    past = hindcasts(home.lake, table, model, series, count=HINDCASTS)
    rows = newest_rows(home.lake.table(table), model, series, steps=PICTURED_HORIZONS * int(model.signature["horizon"]))
    seen = sum(not one.unseen for one in past)
    note = f"{model.version.name}: {answer['verdict']}" + (
        f"\nwarning: {answer['warning']}" if answer["warning"] else ""
    )
    if seen:
        note += f"\nThe {seen} faint forecasts lie in the time the model was trained on: no evidence."
    draw_forecast(path, rows=rows, answer=columns, past=past, title=f"{series}, {model.version.name}", note=note)


def _print(answer: Mapping[str, Any]) -> None:
    columns = answer["columns"]
    values = [name for name in columns if name not in (SERIES, TIME, "cutoff")]
    rows = [
        (columns[SERIES][place], short_time(columns[TIME][place]), *(f"{columns[name][place]:.6g}" for name in values))
        for place in range(len(columns[TIME]))
    ]
    title = f"{answer['model']}@{answer['version']}, cutoff {short_time(answer['cutoff'])} UTC"
    print_table(title, (SERIES, "ds (UTC)", *values), rows, numbers=values)
    if answer["doubt"]:
        _print_doubt(answer["doubt"])
    click.echo(answer["verdict"])
    if answer["warning"]:
        click.secho(f"warning: {answer['warning']}", fg="yellow", err=True)


def _print_doubt(doubt: Mapping[str, Mapping[str, Any]]) -> None:
    rows = [
        (series, f"{one['dissimilarity']:.3g}", f"{one['threshold']:.3g}", "doubtful" if one["doubtful"] else "usual")
        for series, one in doubt.items()
    ]
    numbers = ("dissimilarity", "usual below")
    print_table(
        "how far the input is from what the model was trained on", (SERIES, *numbers, ""), rows, numbers=numbers
    )
