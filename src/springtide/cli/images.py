"""``springtide images``: what scripts and foreign models are opened in."""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from springtide.app.cells import open_engine
from springtide.app.home import read_settings
from springtide.cli.saying import print_table, stderr
from springtide.sandbox.seam import ENVIRONMENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["command"]


@click.group("images")
def command() -> None:
    """The environments of the sandbox: images where there is a container engine, else folders for bubblewrap."""


@command.command("build")
@click.argument("environments", nargs=-1, type=click.Choice(ENVIRONMENTS))
@click.option(
    "--requirements",
    "-r",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Packages that a script wants besides (a requirements.txt).",
)
@click.pass_obj
def build(config: Path, environments: tuple[str, ...], requirements: Path | None) -> None:
    """Build ENVIRONMENTS, all when none is named; what is there stays as it is."""
    engine = open_engine(read_settings(config).sandbox)
    wanted = requirements.read_text(encoding="utf-8") if requirements else None
    rows = []
    for environment in environments or ENVIRONMENTS:
        began = time.monotonic()
        with _telling(environment) as tell:
            name = engine.build(environment, wanted, tell)
        rows.append((environment, name, f"{time.monotonic() - began:.1f}"))
    print_table(engine.name, ("environment", "name", "seconds"), rows, numbers=("seconds",))


@contextmanager
def _telling(environment: str) -> Iterator[Callable[[str], None]]:
    """The newest line beside a spinner on a terminal; every line elsewhere."""
    console = stderr()
    if not console.is_terminal:
        yield lambda line: console.print(f"{environment}: {line}", markup=False)
        return
    with console.status(environment) as status:
        yield lambda line: status.update(f"{environment}: {escape(line[:100])}")
