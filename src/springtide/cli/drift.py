"""``springtide drift``: whether inputs and losses are still those of the champion's training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from springtide.cli.opening import open_config
from springtide.cli.saying import json_option, print_json, print_table, short_time, stderr

if TYPE_CHECKING:
    from pathlib import Path

    from springtide.evaluation.drift import Shift
    from springtide.pipeline.drift import DriftReport

__all__ = ["command"]


@click.command("drift")
@click.argument("model")
@json_option
@click.pass_obj
def command(config: Path, *, model: str, as_json: bool) -> None:
    """Compare the newest inputs of MODEL with its champion's training, and the champion's losses with a baseline's."""
    home = open_config(config)
    home.model(model)  # a wrong name is refused before torch is imported
    from springtide.app.worker import find_drift  # noqa: PLC0415 # torch costs 1.5 s

    report = find_drift(home, model)
    if as_json:
        print_json(report)
    else:
        _print(report)


def _print(report: DriftReport) -> None:
    title = (
        f"inputs from {short_time(report.recent_from)} to {short_time(report.recent_until)} "
        f"beside what {report.version} has seen until {short_time(report.seen_until)}"
    )
    columns = ("input", "PSI", "threshold", "KS", "p", "items", "worth", "drifted")
    print_table(title, columns, [_row(one) for one in report.inputs], numbers=columns[1:7])
    if report.loss is not None:
        loss = report.loss
        title = f"losses of {report.version}, {loss.items:,} items that it has not seen"
        names = ("beside", "loss", "its loss", "most since", "evidence", "threshold", "drifted")
        row = (
            loss.baseline,
            f"{loss.loss:.5g}",
            f"{loss.baseline_loss:.5g}",
            short_time(loss.since),
            f"{loss.statistic:.3g}",
            f"{loss.threshold:,.0f}",
            _yes(drifted=loss.drifted),
        )
        print_table(title, names, [row], numbers=(*names[1:3], *names[4:6]))
    for note in report.notes:
        stderr().print(note)
    click.echo("\n".join(report.reasons) or "no drift")


def _row(one: Shift) -> tuple[str, ...]:
    return (
        one.name,
        f"{one.psi:.3f}",
        f"{one.threshold:.2f}",
        f"{one.ks:.3f}",
        f"{one.p_value:.2g}",
        f"{one.items:,}",
        f"{one.effective:.1f}",
        _yes(drifted=one.drifted),
    )


def _yes(*, drifted: bool) -> str:
    return "yes" if drifted else "no"
