"""``springtide backtest``: walk forward through history."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from springtide.cli.life import follow, print_life
from springtide.cli.opening import open_config
from springtide.cli.retrain import UNTIL
from springtide.cli.saying import (
    check_picture,
    json_option,
    percent,
    print_json,
    print_table,
    progress_bar,
    short_time,
    stderr,
    writing,
)
from springtide.domain.errors import SettingsError
from springtide.domain.units import parse_span

if TYPE_CHECKING:
    from springtide.pipeline.backtest import Backtest
    from springtide.pipeline.life import Life

__all__ = ["command"]


WINDOWS = 4
SHOWN_METRICS = 3  # in the table; all of them with --json


@click.command("backtest")
@click.argument("model")
@click.option("--windows", type=click.IntRange(min=1), help=f"Folds of the judging span.  [default: {WINDOWS}]")
@click.option("--retrain-every", metavar="SPAN", help="Replay MODEL's life instead, retrained so often: 1d, 7d.")
@click.option(
    "--from", "since", metavar="TIME", type=click.DateTime(UNTIL), help="First retraining (UTC); else the judging span."
)
@click.option(
    "--until", metavar="TIME", type=click.DateTime(UNTIL), help="Replay what was known (closed) at this UTC time only."
)
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Also draw the life: PNG, SVG or PDF.")
@click.option("--publish", is_flag=True, help="Publish the versions that served in the replay; none is promoted.")
@click.option("--by-series", is_flag=True, help="Also print each series' gain and p-value.")
@json_option
@click.pass_obj
def command(config: Path, /, *, model: str, windows: int | None, by_series: bool, as_json: bool, **replay: Any) -> None:
    """Train MODEL anew before each fold of its judging span, and judge it beside champion and baselines.

    With --retrain-every the whole loop is replayed: train, judge, promote or keep, and serve until the next time.
    """
    _check(windows, **replay)
    home = open_config(config)
    home.model(model)
    if replay["retrain_every"]:
        every = parse_span(replay["retrain_every"])
        since, until = (moment and moment.replace(tzinfo=UTC) for moment in (replay["since"], replay["until"]))
        life = follow(home, model, every=every, since=since, until=until, publish=replay["publish"])
        print_json(life) if as_json else print_life(life, by_series=by_series)
        if replay["plot"]:
            _draw(life, replay["plot"])
        return
    windows = windows or WINDOWS
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


def _check(windows: int | None, *, retrain_every: str | None, plot: Path | None, **others: Any) -> None:
    """Refuse options that do not go together, and a picture that cannot be written, before anything heavy starts."""
    if retrain_every is None and (plot or any(others.values())):
        raise SettingsError(
            "--from, --until, --plot and --publish belong to a replay",
            where="springtide backtest",
            do="add --retrain-every 7d, or leave them out",
        )
    if retrain_every is not None and windows is not None:
        raise SettingsError(
            "--windows and --retrain-every are two kinds of backtest",
            where="springtide backtest",
            do="choose one of them",
        )
    if plot:
        check_picture(plot, where="springtide backtest --plot")
        if not plot.absolute().parent.is_dir():
            raise SettingsError(
                f"there is no folder {plot.parent}", where="springtide backtest --plot", do="make the folder first"
            )


def _draw(life: Life, path: Path) -> None:
    from springtide.cli.plot import draw_life  # noqa: PLC0415 # matplotlib costs 0.7 s

    with writing(path):
        draw_life(path, life)
    click.echo(f"wrote {path}", err=True)


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
                "" if one.mcs_p_value is None else f"{one.mcs_p_value:.2f}",
                *(f"{one.metrics[name]:.3g}" for name in metrics),
            )
        )
    columns = ("rival", "items", "loss", "model's gain", "p", "mcs p", *metrics)
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
