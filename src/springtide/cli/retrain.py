"""``springtide retrain``: one run in the foreground."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from springtide.app.queue import anyone_works, submit
from springtide.cli.following import follow_to_the_end
from springtide.cli.opening import open_config
from springtide.cli.saying import json_option, percent, print_json, print_table, progress_bar, short_time, stderr
from springtide.domain.errors import SettingsError
from springtide.domain.units import parse_span
from springtide.pipeline.retraining import outcome_of

if TYPE_CHECKING:
    from pathlib import Path

    from springtide.app.home import Home
    from springtide.domain.run import Step
    from springtide.domain.verdict import Verdict
    from springtide.pipeline.retraining import Outcome
    from springtide.pipeline.search import Found
    from springtide.tasks.seam import Advance

__all__ = ["command", "print_outcome", "run_with_progress"]


UNTIL = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%SZ")
REASONS = ("by hand",)
BY_HAND = 10  # priority: somebody waits for it
SHOWN_TRIALS = 10
SHOWN_METRICS = 3  # in the table; all of them with --json


@click.command("retrain")
@click.argument("model")
@click.option(
    "--until", type=click.DateTime(UNTIL), help="Learn and judge from what was known (closed) at this UTC time only."
)
@click.option("--no-collect", is_flag=True, help="Do not ask the sources for new rows first.")
@click.option("--detach", is_flag=True, help="Only ask for the run; a worker does it.")
@click.option("--search", type=click.IntRange(min=2), metavar="N", help="Look for a better recipe first: try N.")
@click.option("--search-budget", metavar="SPAN", help="Most time of the search: 10m, 2h.")
@click.option("--fix", "fixed", multiple=True, metavar="KEY", help="A key that the search leaves as it is declared.")
@click.option("--declared", is_flag=True, help="Forget what an earlier search has found.")
@json_option
@click.pass_obj
def command(
    config: Path,
    /,
    *,
    model: str,
    until: datetime | None,
    no_collect: bool,
    detach: bool,
    declared: bool,
    as_json: bool,
    **look: Any,
) -> None:
    """Train a challenger for MODEL, judge it, and promote it if it is better.

    A worker does it where one lives, and goes on with it whatever dies; else it is done here.

    With --search recipes are tried here, on history before the judging span. What is found is used from then on,
    until MODEL is searched for again or its section of springtide.toml changes.
    """
    more = bool(look["search_budget"] or look["fixed"])
    _check(look["search"], declared=declared, detach=detach, until=until, more=more)
    home = open_config(config)
    home.model(model)  # a wrong name is refused before torch is imported
    if declared:
        home.registry.forget_recipe(model)
    asked: dict[str, Any] = {"until": None if until is None else until.replace(tzinfo=UTC), "collect": not no_collect}
    if detach:
        run = submit(home, model, reasons=REASONS, priority=BY_HAND, **asked)
        print_json(run) if as_json else click.echo(f"run {run.id} is {run.state}: {', '.join(run.reasons)}")
        if not anyone_works(home):
            click.echo("no worker lives: start one with `springtide worker` or `springtide up`", err=True)
        return
    found = None
    if look["search"]:
        found = search_with_progress(home, model, collect=asked["collect"], **look)
        asked["collect"] = False  # the search has just done it
        if not as_json:
            print_search(found)
    if anyone_works(home):
        joined = home.registry.active_run(model) is not None
        run = submit(home, model, reasons=REASONS, priority=BY_HAND, **asked)
        with _Bars() as bars:
            outcome = outcome_of(follow_to_the_end(home, run, bars, stop=not joined), home.registry)
    else:
        outcome = run_with_progress(home, model, **asked)
    if as_json:
        print_json(_facts(outcome) | ({} if found is None else {"search": found}))
    else:
        print_outcome(outcome)


def _check(search: int | None, *, declared: bool, detach: bool, until: datetime | None, more: bool) -> None:
    """Refuse options that do not go together."""
    if search is None and more:
        raise SettingsError(
            "--search-budget and --fix belong to a search", where="springtide retrain", do="add --search 30"
        )
    others = {"--declared": declared, "--detach": detach, "--until": until}
    wrong = [option for option, given in others.items() if given]
    if search is not None and wrong:
        raise SettingsError(
            f"--search and {' and '.join(wrong)} do not go together",
            where="springtide retrain",
            do="leave one of them out",
        )


def run_with_progress(home: Any, model: str, **options: Any) -> Outcome:
    """Retrain with a bar for each step on a terminal, a line for each step elsewhere."""
    with _Bars() as bars:
        from springtide.app.worker import retrain  # noqa: PLC0415 # torch costs 1.5 s: the bar stands before that

        return retrain(home, model, reporter=bars, **options)


def search_with_progress(
    home: Home, model: str, *, search: int, search_budget: str | None, fixed: tuple[str, ...], collect: bool
) -> Found:
    """Try recipes with a bar on a terminal."""
    seconds = None if search_budget is None else parse_span(search_budget).total_seconds()
    console = stderr()
    with progress_bar(f"search {model}", counted=search) as advance:
        from springtide.app import worker  # noqa: PLC0415 # torch costs 1.5 s: the bar stands before that
        from springtide.pipeline.search import Found  # noqa: PLC0415 # comes with it

        gains = [0.0]
        for told in worker.search(home, model, trials=search, seconds=seconds, fixed=fixed, collect=collect):
            if isinstance(told, Found):
                return told
            gains.append(told.gain or 0.0)
            advance(len(gains) - 1, f"best gain {percent(max(gains))}")
            if not console.is_terminal:
                loss = "" if told.loss is None else f", loss {told.loss:.5g}"
                console.print(f"trial {told.number:<3} {told.seconds:6.1f} s  {told.state}{loss}")
    raise AssertionError("a search ends with its result")


def print_search(found: Found) -> None:
    """The best trials, and what came of them."""
    tried = sorted(found.trials, key=lambda trial: (trial.gain is None and trial.number > 0, -(trial.gain or 0.0)))
    rows = [
        (
            trial.number,
            "as declared" if not trial.changes else ", ".join(f"{key} {value}" for key, value in trial.changes.items()),
            f"{trial.state}: {trial.note}" if trial.note else trial.state,
            trial.folds,
            "" if trial.loss is None else f"{trial.loss:.5g}",
            "" if trial.gain is None else percent(trial.gain),
            "" if trial.p_value is None else f"{trial.p_value:.3g}",
            f"{trial.seconds:.0f}",
        )
        for trial in tried[:SHOWN_TRIALS]
    ]
    columns = ("trial", "recipe", "state", "windows", "loss", "gain", "p", "seconds")
    first, last = found.folds[0][0], found.folds[-1][1]
    title = f"{found.loss_name}, {len(found.folds)} windows from {short_time(first)} to {short_time(last)}"
    print_table(title, columns, rows, numbers=("trial", *columns[3:]))
    if len(tried) > SHOWN_TRIALS:
        click.echo(f"and {len(tried) - SHOWN_TRIALS} more")
    click.secho(f"{len(tried)} trials in {found.seconds:.0f} s: {found.reason}", bold=True)


def print_outcome(outcome: Outcome) -> None:
    """The verdict as a table and a sentence."""
    verdict = outcome.verdict
    evidence = ["e"] if any(one.e_value is not None for one in verdict.comparisons) else []
    rows = [
        (outcome.version.name, f"{verdict.loss:.5g}", "", "", *("" for _ in evidence), *_metrics(outcome, "challenger"))
    ]
    for one in verdict.comparisons:
        figures = [f"{one.loss:.5g}", percent(one.gain), f"{one.p_value:.3g}"]
        figures += ["" if one.e_value is None else f"{one.e_value:.3g}" for _ in evidence]
        rows.append((f"{one.kind} {one.rival}", *figures, *_metrics(outcome, one.rival)))
    columns = ("", "loss", "gain", "p", *evidence, *_shown_metrics(outcome))
    print_table(
        f"{outcome.run.id}: {verdict.loss_name}, {verdict.items:,} unseen items", columns, rows, numbers=columns[1:]
    )
    seconds = ", ".join(f"{step.name} {step.seconds:.1f}" for step in outcome.run.steps if step.seconds is not None)
    click.echo(f"run {outcome.run.id}, seconds: {seconds}")
    click.secho(f"{'PROMOTE' if verdict.promote else 'KEEP'} {outcome.version.name}: {verdict.reason}", bold=True)
    _warn(verdict)


def _warn(verdict: Verdict) -> None:
    if verdict.warning:
        click.secho(f"warning: {verdict.warning}", fg="yellow", err=True)


def _shown_metrics(outcome: Outcome) -> list[str]:
    return [name for name in outcome.metrics["challenger"] if name != "loss"][:SHOWN_METRICS]


def _metrics(outcome: Outcome, name: str) -> list[str]:
    figures = outcome.metrics.get(name, {})
    return [f"{figures[metric]:.3g}" if metric in figures else "" for metric in _shown_metrics(outcome)]


def _facts(outcome: Outcome) -> dict[str, Any]:
    return {
        "run": outcome.run.id,
        "model": outcome.run.model,
        "version": outcome.version.number,
        "serving": outcome.entry.serving,
        "verdict": outcome.verdict,
        "metrics": outcome.metrics,
        "seconds": {step.name: step.seconds for step in outcome.run.steps},
        "steps": {step.name: step.result for step in outcome.run.steps},
    }


class _Bars:
    """A reporter: a bar that moves on a terminal, a line for each finished step elsewhere."""

    def __init__(self) -> None:
        self._console = stderr()
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<9}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._current: Any = None

    def __enter__(self) -> _Bars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def step_started(self, name: str) -> None:
        """Open a bar that pulses until its length is known."""
        self._current = self._bars.add_task(name, total=None, note="")

    def step_advanced(self, advance: Advance) -> None:
        """Steps, loss and time left."""
        note = f"step {advance.epoch}, loss {advance.loss:.5g}, {advance.seconds_left:.0f} s left at most"
        self._bars.update(self._current, total=1.0, completed=advance.done, note=note)

    def step_finished(self, step: Step) -> None:
        """Fill the bar."""
        self._bars.update(self._current, total=1.0, completed=1.0, note=_note(step))
        if not self._console.is_terminal:
            self._console.print(f"{step.name:<9} {step.seconds:6.2f} s  {_note(step)}")


def _note(step: Step) -> str:
    """What of a step's result people want to see while they wait."""
    told = (
        "rows",
        "training_items",
        "judging_items",
        "best_step",
        "validation_loss",
        "stopped_by",
        "parity",
        "action",
        "version",
    )
    parts = [f"{name.replace('_', ' ')} {_short(step.result[name])}" for name in told if name in step.result]
    return ", ".join(parts)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
