"""A run that a worker does, followed here as if it were done here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

import click

from springtide.app.queue import cancel, follow
from springtide.domain.errors import SpringtideError
from springtide.domain.printing import printable
from springtide.tasks.seam import Advance

if TYPE_CHECKING:
    from collections.abc import Callable

    from springtide.app.home import Home
    from springtide.domain.run import Event, Run
    from springtide.pipeline.recorder import Reporter

__all__ = ["follow_to_the_end", "line_of", "print_events"]

INTERRUPTED = 130  # the exit code of what Ctrl-C ended


class RunEnded(SpringtideError):
    """The run that was followed failed or was stopped."""


def follow_to_the_end(home: Home, run: Run, reporter: Reporter, *, stop: bool) -> Run:
    """Tell `reporter` what a run tells; Ctrl-C stops the run if `stop`, else it goes on without being watched.

    Raises
    ------
    RunEnded
        If it did not succeed; says why.
    """
    try:
        for event in follow(home, run.id):
            _tell(event, home, reporter)
    except KeyboardInterrupt:
        if stop:
            cancel(home, run.id, by="hand")
            raise
        _leave(f"run {run.id}, which others had asked for before,", f"springtide cancel {run.id}")
    end = home.registry.run(run.id)
    if end.failure is not None:
        raise RunEnded(end.failure.what, where=f"run {end.id}, {end.failure.where}", do=end.failure.do)
    return end


def print_events(home: Home, run: str, say: Callable[[Event], object], *, job: bool = False) -> None:
    """Have `say` print what a run tells until it has ended; after Ctrl-C it goes on without being watched."""
    try:
        for event in follow(home, run):
            say(event)
    except KeyboardInterrupt:
        _leave(f"job {run}", f"springtide jobs cancel {run}") if job else _leave(
            f"run {run}", f"springtide cancel {run}"
        )


def _leave(what: str, stop: str) -> NoReturn:
    click.echo(f"no longer followed: {what} goes on; `{stop}` stops it", err=True)
    raise SystemExit(INTERRUPTED)


def line_of(event: Event) -> str:
    """One line for people, of what can be printed alone: a script chooses some of its words."""
    body: dict[str, Any] = dict(event.body)
    step = body.pop("step", "")
    if event.kind == "log":
        words = f"{body['level']}: {body['line']}"
    elif event.kind == "progress":
        words = f"step {body['epoch']}, loss {body['loss']:.5g}, {body['seconds_left']:.0f} s left at most"
    else:
        words = ", ".join(f"{name} {_short(value)}" for name, value in body.items())
    return printable(f"{event.at:%H:%M:%S} {event.kind.replace('_', ' '):<13} {step:<9} {words}").rstrip()


def _tell(event: Event, home: Home, reporter: Reporter) -> None:
    match event.kind:
        case "step_started":
            reporter.step_started(event.body["step"])
        case "progress":
            reporter.step_advanced(Advance(**event.body))
        case "step_finished":
            steps = home.registry.run(event.run).steps
            found = [one for one in steps if one.name == event.body["step"] and one.seconds is not None]
            for one in found[-1:]:
                reporter.step_finished(one)
        case "step_retried" | "reason" | "state":
            click.echo(line_of(event), err=True)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)
