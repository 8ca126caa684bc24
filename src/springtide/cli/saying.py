"""How facts are said: a table for people, JSON for programs; progress on the standard error stream."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from springtide.domain.errors import SettingsError, StoreFailed
from springtide.domain.printing import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

__all__ = [
    "check_picture",
    "json_option",
    "percent",
    "print_json",
    "print_table",
    "progress_bar",
    "short_time",
    "stderr",
    "writing",
]

PIPED_WIDTH = 240
PICTURES = (".png", ".svg", ".pdf")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def stderr() -> Console:
    """Where progress and warnings go, so that results can be piped."""
    return Console(stderr=True, highlight=False, width=_width(sys.stderr))


def _width(stream: TextIO) -> int | None:
    """A terminal's own width (None); elsewhere wide enough that no cell is broken."""
    return None if stream.isatty() else PIPED_WIDTH


def print_json(value: Any) -> None:
    """Print dataclasses, mappings, times and numbers as indented JSON."""
    encoded = msgspec.json.encode(value, enc_hook=_plain)
    sys.stdout.write(msgspec.json.format(encoded, indent=2).decode() + "\n")


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, numbers: Sequence[str] = ()
) -> None:
    """Print rows under a title, what can be printed of them; the columns named in `numbers` are aligned to the right."""
    if not rows:
        Console(highlight=False).print(f"{title}: nothing yet")
        return
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for name in columns:
        number = name in numbers
        table.add_column(
            name, justify="right" if number else "left", overflow="fold", no_wrap=number or not table.columns
        )
    for row in rows:
        table.add_row(*(Text("" if cell is None else printable(str(cell))) for cell in row))
    Console(highlight=False, width=_width(sys.stdout)).print(table)


@contextmanager
def progress_bar(title: str, *, counted: int | None = None) -> Iterator[Callable[[float, str], None]]:
    """A bar on a terminal, nothing elsewhere; the yielded function takes the share done (or the count) and a text."""
    console = stderr()
    amount = MofNCompleteColumn() if counted else TextColumn("{task.percentage:>3.0f}%")
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        amount,
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=counted or 1.0, note="")
        yield lambda done, note: bar.update(task, completed=done, note=note)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say which file could not be written, and why."""
    try:
        yield
    except OSError as error:
        raise StoreFailed(
            f"{path.name} cannot be written: {error.strerror or error}",
            where=str(path.absolute()),
            do="check that its folder is there, may be written and has free space",
        ) from error


def check_picture(path: Path, *, where: str) -> None:
    """Refuse a file name whose ending is no kind of picture, before anything is computed."""
    if path.suffix.lower() not in PICTURES:
        raise SettingsError(
            f"{path.suffix or path.name!r} is no kind of picture",
            where=where,
            do=f"end the file's name with {', '.join(PICTURES)}",
        )


def short_time(moment: Any) -> str:
    """A UTC time to the minute."""
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def percent(share: float) -> str:
    """A share with sign, in per cent.

    >>> percent(0.0123)
    '+1.23 %'
    """
    return f"{share * 100:+.2f} %"


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise NotImplementedError(f"{type(value).__name__} has no JSON form")
