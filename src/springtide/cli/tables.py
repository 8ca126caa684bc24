"""``springtide tables``: what the lake holds."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from springtide.cli.opening import open_config
from springtide.cli.saying import json_option, print_json, print_table, short_time
from springtide.domain.units import format_span

if TYPE_CHECKING:
    from pathlib import Path

    from springtide.app.home import Home
    from springtide.domain.rows import SeriesFacts
    from springtide.lake.table import Table

__all__ = ["command"]

SHOWN_GAPS = 20


@click.command("tables")
@click.argument("table", required=False)
@click.option("--compact", is_flag=True, help="Join small files, and remove those that no run or version refers to.")
@json_option
@click.pass_obj
def command(config: Path, *, table: str | None, compact: bool, as_json: bool) -> None:
    """List tables with spans, gaps and duplicates; with TABLE its series and gaps."""
    home = open_config(config)
    names = [table] if table else home.lake.names()
    opened = [home.lake.table(name) for name in names]
    if compact:
        for one in opened:
            click.echo(f"{one.name}: {_compact(home, one)} files removed", err=True)
    facts = {one.name: one.facts() for one in opened}
    if as_json:
        print_json([_summary(one, facts[one.name]) | ({"series": facts[one.name]} if table else {}) for one in opened])
    elif table:
        _print_series(opened[0], facts[table])
    else:
        _print_tables([_summary(one, facts[one.name]) for one in opened])


def _compact(home: Home, table: Table) -> int:
    table.compact()
    kept = {version for name, version in home.registry.snapshots() if name == table.name}
    return table.vacuum(kept)


def _summary(table: Table, facts: list[SeriesFacts]) -> dict[str, Any]:
    return {
        "table": table.name,
        "version": table.version(),
        "timeframe_s": table.step_s,
        "series_count": len(facts),
        "rows": sum(one.rows for one in facts),
        "first": min((one.first for one in facts), default=None),
        "last": max((one.last for one in facts), default=None),
        "gaps": sum(len(one.gaps) for one in facts),
        "missing_steps": sum(gap.steps for one in facts for gap in one.gaps),
        "duplicates": sum(one.duplicates for one in facts),
    }


def _print_tables(summaries: list[dict[str, Any]]) -> None:
    rows = [
        (
            one["table"],
            one["version"],
            _timeframe(one["timeframe_s"]),
            one["series_count"],
            f"{one['rows']:,}",
            short_time(one["first"]),
            short_time(one["last"]),
            one["gaps"],
            f"{one['missing_steps']:,}",
            one["duplicates"],
        )
        for one in summaries
    ]
    columns = ("table", "version", "step", "series", "rows", "first", "last", "gaps", "missing", "duplicates")
    print_table("tables", columns, rows, numbers=("version", "series", "rows", "gaps", "missing", "duplicates"))


def _print_series(table: Table, facts: list[SeriesFacts]) -> None:
    rows = [
        (
            one.series,
            f"{one.rows:,}",
            short_time(one.first),
            short_time(one.last),
            len(one.gaps),
            sum(gap.steps for gap in one.gaps),
            one.duplicates,
        )
        for one in facts
    ]
    title = f"{table.name}, version {table.version()}, step {_timeframe(table.step_s)}"
    columns = ("series", "rows", "first", "last", "gaps", "missing", "duplicates")
    print_table(title, columns, rows, numbers=("rows", "gaps", "missing", "duplicates"))
    gaps = sorted((gap for one in facts for gap in one.gaps), key=lambda gap: -gap.steps)
    if gaps:
        shown = [(gap.series, short_time(gap.first), short_time(gap.last), gap.steps) for gap in gaps[:SHOWN_GAPS]]
        title = f"the {len(shown)} longest of {len(gaps)} gaps (all of them with --json)"
        print_table(title, ("series", "first missing", "last missing", "steps"), shown, numbers=("steps",))


def _timeframe(step_s: int | None) -> str:
    return "" if step_s is None else format_span(timedelta(seconds=step_s))
