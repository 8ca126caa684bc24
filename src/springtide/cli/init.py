"""``springtide init``: a first springtide.toml with every key explained."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

import click

from springtide.cli.saying import writing
from springtide.domain.errors import Conflict

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["command", "template"]


def template() -> str:
    """The text of a first springtide.toml."""
    return resources.files("springtide.cli").joinpath("template.toml").read_text(encoding="utf-8")


@click.command("init")
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
@click.pass_obj
def command(config: Path, *, force: bool) -> None:
    """Write a commented springtide.toml."""
    if config.exists() and not force:
        raise Conflict(f"{config} is there already", where=str(config.absolute()), do="edit it, or use --force")
    with writing(config):
        config.write_text(template(), encoding="utf-8")
    click.echo(f"wrote {config}; next: springtide ingest, springtide retrain btc, springtide forecast btc")
