"""``springtide regions``: what came from whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from springtide.app.regions import region_facts, rejected_rows
from springtide.cli.opening import open_config
from springtide.cli.saying import json_option, print_json, print_table, short_time, stderr

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["command"]

COUNTS = ("batches", "repeated", "refused", "rows", "corrected", "unchanged", "rejected")
NAMED = 10
NOUNS = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "y": "year"}


@click.command("regions")
@click.argument("table")
@click.option("--rejected", is_flag=True, help="The newest rows that were not taken, each with its reason, instead.")
@click.option("--region", help="Of --rejected: of one region.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Of --rejected: how many.")
@json_option
@click.pass_obj
def command(config: Path, *, table: str, rejected: bool, region: str | None, limit: int, as_json: bool) -> None:
    """What came from each region that sends rows into TABLE, and who is waited for."""
    home = open_config(config)
    if rejected:
        rows = rejected_rows(home, table, region=region, limit=limit)
        if as_json:
            print_json(rows)
            return
        lines = [(row.region, row.batch, row.row, short_time(row.at), row.reason) for row in rows]
        print_table(f"{table}: not taken", ("region", "batch", "row", "at (UTC)", "reason"), lines, numbers=("row",))
        return
    facts = region_facts(home, table)
    if as_json:
        print_json(facts)
        return
    columns = ("region", *COUNTS, "last arrival (UTC)", "newest row", "reported")
    print_table(table, columns, [_row(one) for one in facts["regions"]], numbers=COUNTS)
    if facts["period"] is not None and facts["expected"]:
        stderr().print(_reports(facts))


def _row(one: dict[str, Any]) -> tuple[Any, ...]:
    times = (short_time(one[name]) for name in ("arrived", "newest", "reported"))
    return (one["region"], *(f"{one[name]:,}" for name in COUNTS), *times)


def _reports(facts: dict[str, Any]) -> str:
    complete, missing = facts["complete"], facts["waiting_for"]
    said = (
        "no period is complete yet"
        if complete is None
        else f"complete: the {_in_words(facts['period'])} from {short_time(complete)}"
    )
    if missing:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        said += f"; for the newest one waited for: {', '.join(missing[:NAMED])}{more}"
    return said


def _in_words(span: str) -> str:
    """A span as it is said: ``week``, ``12 hours``."""
    number, noun = span[:-1], NOUNS[span[-1]]
    return noun if number == "1" else f"{number} {noun}s"
