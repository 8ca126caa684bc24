"""``springtide stream``: take rows and jobs from a broker, send events to it; ``stream send``: send rows; ``stream dead``: look at dead letters."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from springtide.cli.opening import open_config
from springtide.domain.errors import NotFound
from springtide.domain.regions import name_of_content

if TYPE_CHECKING:
    from typing import Literal

__all__ = ["command"]

FORMS = {".csv": "csv", ".json": "json", ".parquet": "parquet"}


@click.group("stream", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Take rows and jobs from the broker of [streams], and send events to it, until told to stop."""
    if ctx.invoked_subcommand is None:
        own = [sys.executable, "-m", "springtide.app.streaming", "--config", str(ctx.obj)]
        os.execv(sys.executable, own)  # noqa: S606 # no shell: the consumer is a program of its own, which this becomes


@command.command("send")
@click.option("--table", required=True, help="The table that the rows are for.")
@click.option("--region", required=True, help="Who sends them.")
@click.option("--file", "path", required=True, type=click.Path(path_type=Path), help="CSV, JSON or Parquet.")
@click.option("--batch", help="The batch's id; the digest of the file when not given, so that a file counts once.")
@click.pass_obj
def send(config: Path, *, table: str, region: str, path: Path, batch: str | None) -> None:
    """Send the rows of a file to the topic of rows, as one batch; a large file goes through the store."""
    from springtide.app.streams.sending import check_taken, payloads_of, send_rows  # noqa: PLC0415 # what speaks to brokers costs 0.7 s
    from springtide.streams.messages import RowsMessage  # noqa: PLC0415

    if not path.is_file():
        raise NotFound(f"there is no file {path.name!r}", where=str(path.absolute()), do="name a file of rows")
    form = FORMS.get(path.suffix.lower())
    if form is None:
        raise click.UsageError(f"{path.name}: rows come as {', '.join(FORMS)}")
    home = open_config(config)
    check_taken(home, table, region)
    data = path.read_bytes()
    message = RowsMessage(
        table=table,
        region=region,
        batch=batch or name_of_content(data),
        form=cast("Literal['csv', 'json', 'parquet']", form),
        data=payloads_of(home).wrap(data),
    )
    asyncio.run(send_rows(home, message))
    click.echo(f"sent batch {message.batch} of {region} for {table}: {len(data):,} bytes")


@command.command("dead")
@click.option("--again", is_flag=True, help="Send the originals back to their topics; the letters are gone then.")
@click.pass_obj
def dead(config: Path, *, again: bool) -> None:
    """List what could not be handled, newest first, and why."""
    from springtide.app.streams.dead_letters import dead_letters  # noqa: PLC0415 # what speaks to brokers costs 0.7 s

    letters = asyncio.run(dead_letters(open_config(config), again=again))
    for one in letters:
        click.echo(f"{one.letter.at:%Y-%m-%d %H:%M:%S} {one.letter.topic}: {one.letter.what}")
        if one.about is not None:
            click.echo(f"  about: {one.about}")
        click.echo(f"  where: {one.letter.where}\n  do: {one.letter.do}")
        if one.failure is not None:
            click.echo(f"  not sent again: {one.failure}")
    sent = f", {sum(one.failure is None for one in letters)} sent again" if again else ""
    click.echo(f"{len(letters)} dead letter{'' if len(letters) == 1 else 's'}{sent}")
