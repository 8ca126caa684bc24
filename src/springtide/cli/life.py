"""What ``springtide backtest --retrain-every`` prints: a timeline, and everyone who would have answered."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from springtide.cli.saying import percent, print_table, progress_bar, short_time, stderr
from springtide.pipeline.life import Life

if TYPE_CHECKING:
    from springtide.app.home import Home
    from springtide.pipeline.life import Span

__all__ = ["follow", "print_life"]

SHOWN_METRICS = 3  # in the table; all of them with --json


def follow(home: Home, model: str, **plan: Any) -> Life:
    """Replay a model's life, with a bar that says how far it is and how long it will take."""
    spans, done, life, began = 0, 0, None, time.monotonic()
    with progress_bar(f"replay {model}") as advance:
        from springtide.app.worker import live_through  # noqa: PLC0415 # torch costs 1.5 s: the bar stands before that

        for one in live_through(home, model, **plan):
            if isinstance(one, Life):
                life = one
            elif isinstance(one, int):
                spans = one
                advance(0.0, f"0 of {spans} retrainings")
            else:
                done += 1
                left = int((time.monotonic() - began) / done * (spans - done))
                told = f"{done} of {spans} retrainings, {short_time(one.start)}: {_action(one)}"
                advance(done / spans, f"{told}; about {left // 60} min {left % 60} s left")
    assert life is not None  # a replay ends with its result
    return life


def print_life(life: Life, *, by_series: bool) -> None:
    """Timeline and rivals, as tables."""
    _print_timeline(life)
    _print_rivals(life)
    if by_series:
        _print_series(life)
    counts = Counter(_action(span) for span in life.spans)
    said = ", ".join(f"{counts[action]} {action}" for action in ("promoted", "kept", "failed") if counts[action])
    last = life.spans[-1].serving
    now = "nothing serves" if last is None else f"{life.model}@{last} serves"
    click.secho(f"{len(life.spans)} retrainings: {said}; in the end {now}", bold=True)
    for note in life.notes:
        stderr().print(note)
    for replayed, name in life.published.items():
        click.echo(f"{replayed} of the replay is published as {name}: `springtide promote {name}` lets it serve")


def _print_timeline(life: Life) -> None:
    rows = []
    for span in life.spans:
        loss, baseline = span.losses.get(life.reference), span.losses.get(life.best_baseline)
        rows.append(
            (
                short_time(span.start),
                "" if span.version is None else f"{life.model}@{span.version}",
                _action(span),
                "nothing" if span.serving is None else f"{life.model}@{span.serving}",
                f"{span.items:,}",
                "" if loss is None else f"{loss:.5g}",
                "" if loss is None or not baseline else percent(1 - loss / baseline),
                _reason(span),
            )
        )
    columns = ("retrained (UTC)", "version", "verdict", "then serves", "items", "loss", "gain", "why")
    title = f"{life.model} from {short_time(life.spans[0].start)} to {short_time(life.spans[-1].stop)}; loss of {life.reference}, gain over {life.best_baseline}"
    print_table(title, columns, rows, numbers=("items", "loss", "gain"))


def _print_rivals(life: Life) -> None:
    metrics = list(life.rivals[0].metrics)[:SHOWN_METRICS]
    rows = [
        (
            rival.name,
            f"{rival.items:,}",
            f"{rival.loss:.5g}",
            "" if rival.difference is None else percent(rival.difference.gain),
            "" if rival.difference is None else f"{rival.difference.p_value:.3g}",
            *(f"{rival.metrics[name]:.3g}" if name in rival.metrics else "" for name in metrics),
        )
        for rival in life.rivals
    ]
    columns = ("rival", "items", "loss", f"gain of {life.reference}", "p", *metrics)
    print_table(f"{life.loss_name}, on the same items", columns, rows, numbers=columns[1:])


def _print_series(life: Life) -> None:
    rivals = [rival for rival in life.rivals if rival.by_group]
    rows = [
        (series, *(f"{percent(one.by_group[series].gain)}  p {one.by_group[series].p_value:.2g}" for one in rivals))
        for series in rivals[0].by_group
    ]
    print_table(f"gain of {life.reference}, series by series", ("series", *(one.name for one in rivals)), rows)


def _action(span: Span) -> str:
    return "failed" if span.failure else "promoted" if span.promoted else "kept"


def _reason(span: Span) -> str:
    """The last part of the verdict's sentence, which says why; all of it is in the JSON."""
    if span.failure is not None:
        return span.failure.what
    why = "" if span.verdict is None else span.verdict.reason.rpartition(": ")[2]
    return why.removeprefix("promote, ").removeprefix("keep, ")
