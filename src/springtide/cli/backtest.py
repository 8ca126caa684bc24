"""``springtide backtest``: walk forward through history."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from springtide.cli.opening import open_config
from springtide.cli.saying import json_option, percent, print_json, print_table, progress_bar, short_time, stderr

if TYPE_CHECKING:
    from pathlib import Path

    from springtide.pipeline.backtest import Backtest

__all__ = ["command"]


SHOWN_METRICS = 3  # in the table; all of them with --json


@click.command("backtest")
@click.argument("model")
@click.option("--windows", default=4, show_default=True, type=click.IntRange(min=1), help="Folds of the judging span.")
@click.option("--by-series", is_flag=True, help="Also print each series' gain and p-value.")
@json_option
@click.pass_obj
def command(config: Path, *, model: str, windows: int, by_series: bool, as_json: bool) -> None:
    """Train MODEL anew before each fold of its judging span, and judge it beside champion and baselines."""
    home = open_config(config)
    home.model(model)
    result = None
    with progress_bar(f"backtest {model}", counted=windows) as advance:
        from springtide.app.worker import backtest  # noqa: PLC0415 # torch costs 1.5 s: the bar stands before that

        for finished in backtest(home, model, folds=windows, progress=lambda _advance: None):
            if isinstance(finished, int):
                advance(finished, f"window {finished} of {windows}")
            else:
                result = finished
    assert result is not None  # the walk ends with its result
    if as_json:
        print_json(result)
    else:
        _print(result, by_series=by_series)


def _print(result: Backtest, *, by_series: bool) -> None:
    metrics = list(result.standings[0].metrics)[:SHOWN_METRICS]
    rows = []
    for one in sorted(result.standings, key=lambda standing: standing.loss):
        gain = "" if one.difference is None else percent(one.difference.gain)
        p_value = "" if one.difference is None else f"{one.difference.p_value:.3g}"
        rows.append(
            (
                one.name,
                f"{one.items:,}",
                f"{one.loss:.5g}",
                gain,
                p_value,
                *(f"{one.metrics[name]:.3g}" for name in metrics),
            )
        )
    columns = ("rival", "items", "loss", "model's gain", "p", *metrics)
    first, last = result.folds[0][0], result.folds[-1][1]
    title = f"{result.loss_name}, {len(result.folds)} windows from {short_time(first)} to {short_time(last)}"
    print_table(title, columns, rows, numbers=columns[1:])
    if by_series:
        _print_series(result)
    for note in result.notes:
        stderr().print(note)


def _print_series(result: Backtest) -> None:
    rivals = [one for one in result.standings if one.by_group]
    rows = [
        (
            series,
            *(
                f"{percent(one.by_group[series].gain)}  p {one.by_group[series].p_value:.2g}"
                for one in rivals
                if series in one.by_group
            ),
        )
        for series in rivals[0].by_group
    ]
    print_table("the model's gain, series by series", ("series", *(one.name for one in rivals)), rows)
