"""``springtide compare``: several versions side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from springtide.cli.opening import open_config
from springtide.cli.saying import json_option, percent, print_json, print_table, short_time, stderr

if TYPE_CHECKING:
    from pathlib import Path

    from springtide.pipeline.comparison import Contender, SideBySide

__all__ = ["command"]


@click.command("compare")
@click.argument("model")
@click.option(
    "--last", default=5, show_default=True, type=click.IntRange(min=1), help="How many of the newest versions."
)
@json_option
@click.pass_obj
def command(config: Path, *, model: str, last: int, as_json: bool) -> None:
    """Compare the newest versions of MODEL, its champion and the baselines on items that none of them has seen."""
    home = open_config(config)
    home.model(model)  # a wrong name is refused before torch is imported
    from springtide.app.worker import compare  # noqa: PLC0415 # torch costs 1.5 s

    result = compare(home, model, last=last)
    if as_json:
        print_json(result)
    else:
        _print(result)


def _print(result: SideBySide) -> None:
    columns = ("", "kind", "loss", "champion's gain", "p", "set p", "in the 90 % set")
    title = (
        f"{result.loss_name}, {result.items:,} items that none of them has seen, "
        f"{short_time(result.first)} to {short_time(result.last)}"
    )
    print_table(title, columns, [_row(one) for one in result.contenders], numbers=columns[2:6])
    for note in result.notes:
        stderr().print(note)


def _row(one: Contender) -> tuple[str, ...]:
    against = one.difference
    return (
        one.name,
        one.kind,
        f"{one.loss:.5g}",
        "" if against is None else percent(against.gain),
        "" if against is None else f"{against.p_value:.3g}",
        f"{one.mcs_p_value:.3g}",
        "yes" if one.in_set else "no",
    )
