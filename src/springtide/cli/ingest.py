"""``springtide ingest``: bring in new rows."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from springtide.app.ingestion import Brought, ingest, ingest_file
from springtide.cli.opening import open_config
from springtide.cli.saying import json_option, print_json, print_table, progress_bar, short_time, stderr
from springtide.domain.clock import utc_now
from springtide.domain.errors import SettingsError, SpringtideError
from springtide.settings.words import RowsSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from springtide.app.home import Home

__all__ = ["command"]


@click.command("ingest")
@click.argument("source", required=False)
@click.option("--file", "path", type=click.Path(path_type=Path), help="A file or folder instead of a source.")
@click.option("--table", help="The table that --file goes to.")
@click.option("--map", "columns", multiple=True, metavar="OURS=THEIRS", help="Column mapping of --file, repeatable.")
@click.option("--series", help="unique_id of a --file that does not name its series.")
@click.option("--timeframe", help="Length of a step of --file, when it cannot be guessed; irregular: no fixed step.")
@json_option
@click.pass_obj
def command(
    config: Path,
    *,
    source: str | None,
    path: Path | None,
    table: str | None,
    columns: tuple[str, ...],
    series: str | None,
    timeframe: str | None,
    as_json: bool,
) -> None:
    """Bring in new rows of SOURCE, of every source, or of a file with --file and --table."""
    home = open_config(config)
    if path is None and (table or columns or series or timeframe):
        raise SettingsError(
            "--table, --map, --series and --timeframe are of --file",
            where="springtide ingest",
            do="name the file, or write these keys into the source's section",
        )
    failures: list[SpringtideError] = []
    if path is not None:
        if not table or source:
            raise SettingsError(
                "--file needs --table, and no SOURCE", where="springtide ingest", do="write --file FILE --table NAME"
            )
        mapping = _mapping(columns)

        def bring(told: Callable[[Brought, float], None]) -> Brought:
            return ingest_file(
                home, path, table=table, columns=mapping, series=series, timeframe=timeframe, now=utc_now, told=told
            )

        brought = [_with_progress(path.name, bring)]
    else:
        brought = []
        for name in _sources(home, source):
            try:
                brought.append(_with_progress(name, partial(_bring_source, home, name)))
            except SpringtideError as error:  # the others still get their turn; said at the end
                failures.append(error)
    if brought or not failures:
        if as_json:
            print_json(brought)
        else:
            _print(brought)
    for failure in failures[1:]:
        stderr().print(f"{type(failure).__name__}: {failure}")
    if failures:
        raise failures[0]


def _bring_source(home: Home, name: str, told: Callable[[Brought, float], None]) -> Brought:
    return ingest(home, name, now=utc_now, told=told)


def _sources(home: Home, source: str | None) -> list[str]:
    if source is not None:
        return [source]
    if not home.settings.sources:
        raise SettingsError("no source is set", where="springtide.toml", do="add [sources.NAME], or use --file")
    return [name for name, one in home.settings.sources.items() if not isinstance(one, RowsSource)]


def _mapping(columns: tuple[str, ...]) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in columns]
    if wrong := [ours for ours, equals, theirs in pairs if not (ours and equals and theirs)]:
        raise SettingsError(f"--map {wrong[0]}", where="springtide ingest", do="write --map ds=date --map y=price")
    return {ours: theirs for ours, _, theirs in pairs}


def _with_progress(title: str, bring: Callable[[Callable[[Brought, float], None]], Brought]) -> Brought:
    with progress_bar(title) as advance:
        return bring(lambda brought, done: advance(done, f"{brought.new:,} new rows"))


def _print(brought: list[Brought]) -> None:
    rows = [
        (one.source, one.table, one.version, f"{one.new:,}", f"{one.corrected:,}", f"{one.unchanged:,}", len(one.gaps))
        for one in brought
    ]
    columns = ("source", "table", "version", "new", "corrected", "unchanged", "gaps")
    print_table("brought in", columns, rows, numbers=columns[2:])
    for one in brought:
        for note in one.notes:
            stderr().print(f"{one.source}: {note}")
        if one.gaps:
            first, steps = one.gaps[0], sum(gap.steps for gap in one.gaps)
            stderr().print(
                f"{one.source}: {len(one.gaps)} gaps, {steps:,} steps missing at the source "
                f"(first: {first.series}, {short_time(first.first)} to {short_time(first.last)}); "
                f"`springtide tables {one.table}` lists them"
            )
