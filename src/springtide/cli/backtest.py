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
    from springtide.app.home import Home
    from springtide.pipeline.backtest import Backtest
    from springtide.pipeline.life import Life

__all__ = ["command"]


WINDOWS = 4
SHOWN_MODELS = 3  # beside the bar
SHOWN_METRICS = 3  # in the table; all of them with --json


@click.command("backtest")
@click.argument("models", metavar="MODEL...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All models of springtide.toml.")
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
def command(
    config: Path,
    /,
    *,
    models: tuple[str, ...],
    everything: bool,
    windows: int | None,
    by_series: bool,
    as_json: bool,
    **replay: Any,
) -> None:
    """Train each MODEL anew before each fold of its judging span, and judge it beside champion and baselines.

    With --retrain-every the whole loop is replayed: train, judge, promote or keep, and serve until the next time.
    """
    _check(windows, **replay)
    home = open_config(config)
    models = _chosen(home, models, everything=everything)
    if replay["retrain_every"]:
        if len(models) > 1:
            raise SettingsError(
                f"a replay is of one model, not of {len(models)}", where="springtide backtest", do="name one model"
            )
        every = parse_span(replay["retrain_every"])
        since, until = (moment and moment.replace(tzinfo=UTC) for moment in (replay["since"], replay["until"]))
        life = follow(home, models[0], every=every, since=since, until=until, publish=replay["publish"])
        print_json(life) if as_json else print_life(life, by_series=by_series)
        if replay["plot"]:
            _draw(life, replay["plot"])
        return
    results = _walk(home, models, windows or WINDOWS)
    if as_json:
        print_json(results if everything or len(models) > 1 else results[models[0]])
        return
    for model, result in results.items():
        _print(model, result, by_series=by_series)


def _chosen(home: Home, models: tuple[str, ...], *, everything: bool) -> tuple[str, ...]:
    """The models to look at, each once; a wrong name is refused before torch is imported."""
    if everything == bool(models):
        raise SettingsError(
            "name the models to look at, or all of them",
            where="springtide backtest",
            do=f"known: {', '.join(sorted(home.settings.models)) or 'none yet'}; or --all",
        )
    chosen = tuple(dict.fromkeys(models or sorted(home.settings.models)))
    for model in chosen:
        home.model(model)
    return chosen


def _walk(home: Home, models: tuple[str, ...], windows: int) -> dict[str, Backtest]:
    total = windows * len(models)
    results: dict[str, Backtest] = {}
    with progress_bar(f"backtest {', '.join(models[:SHOWN_MODELS])}", counted=total) as advance:
        from springtide.app.worker import backtest  # noqa: PLC0415 # torch costs 1.5 s: the bar stands before that

        for finished in backtest(home, *models, folds=windows):
            if isinstance(finished, int):
                advance(finished, f"window {finished} of {total}")
            else:
                results = finished
    return results


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


def _print(model: str, result: Backtest, *, by_series: bool) -> None:
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
    title = f"{model}: {result.loss_name}, {len(result.folds)} windows from {short_time(first)} to {short_time(last)}"
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
