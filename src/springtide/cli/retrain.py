"""``springtide retrain``: one run in the foreground."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from springtide.app.queue import anyone_works, submit
from springtide.cli.following import follow_to_the_end
from springtide.cli.opening import open_config
from springtide.cli.saying import json_option, percent, print_json, print_table, stderr
from springtide.pipeline.retraining import outcome_of

if TYPE_CHECKING:
    from pathlib import Path

    from springtide.domain.run import Step
    from springtide.domain.verdict import Verdict
    from springtide.pipeline.retraining import Outcome
    from springtide.tasks.seam import Advance

__all__ = ["command", "print_outcome", "run_with_progress"]


UNTIL = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%SZ")
REASONS = ("by hand",)
BY_HAND = 10  # priority: somebody waits for it
SHOWN_METRICS = 3  # in the table; all of them with --json


@click.command("retrain")
@click.argument("model")
@click.option(
    "--until", type=click.DateTime(UNTIL), help="Learn and judge from what was known (closed) at this UTC time only."
)
@click.option("--no-collect", is_flag=True, help="Do not ask the sources for new rows first.")
@click.option("--detach", is_flag=True, help="Only ask for the run; a worker does it.")
@json_option
@click.pass_obj
def command(config: Path, *, model: str, until: datetime | None, no_collect: bool, detach: bool, as_json: bool) -> None:
    """Train a challenger for MODEL, judge it, and promote it if it is better.

    A worker does it where one lives, and goes on with it whatever dies; else it is done here.
    """
    home = open_config(config)
    home.model(model)  # a wrong name is refused before torch is imported
    asked: dict[str, Any] = {
        "until": None if until is None else until.replace(tzinfo=UTC),
        "collect": not no_collect,
    }
    if detach:
        run = submit(home, model, reasons=REASONS, priority=BY_HAND, **asked)
        print_json(run) if as_json else click.echo(f"run {run.id} is {run.state}: {', '.join(run.reasons)}")
        return
    if anyone_works(home):
        run = submit(home, model, reasons=REASONS, priority=BY_HAND, **asked)
        with _Bars() as bars:
            outcome = outcome_of(follow_to_the_end(home, run, bars), home.registry)
    else:
        outcome = run_with_progress(home, model, **asked)
    if as_json:
        print_json(_facts(outcome))
    else:
        print_outcome(outcome)


def run_with_progress(home: Any, model: str, **options: Any) -> Outcome:
    """Retrain with a bar for each step on a terminal, a line for each step elsewhere."""
    with _Bars() as bars:
        from springtide.app.worker import retrain  # noqa: PLC0415 # torch costs 1.5 s: the bar stands before that

        return retrain(home, model, reporter=bars, **options)


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
