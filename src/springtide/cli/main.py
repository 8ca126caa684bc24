"""``springtide``: one command a verb; each is imported only when it is called."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from springtide import __version__
from springtide.domain.errors import SpringtideError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "demo": "The whole loop on a simulated exchange: no network, no keys, no services.",
    "init": "Write a commented springtide.toml.",
    "ingest": "Bring in new rows of a source or a file.",
    "tables": "What the tables hold: spans, gaps, duplicates.",
    "regions": "What came from each region that sends rows into a table.",
    "retrain": "One run in the foreground: steps, progress, verdict.",
    "backtest": "Walk forward through history: model, champion, baselines side by side.",
    "compare": "The newest versions side by side, and which of them may be the best.",
    "drift": "Whether inputs and losses are still those of the champion's training.",
    "forecast": "What the champion says now.",
    "models": "The models and who serves.",
    "runs": "The newest runs, or what one tells while it goes on.",
    "cancel": "Stop a run.",
    "triggers": "What starts runs by itself, and when sources are asked.",
    "show": "One run or version in full.",
    "reproduce": "One run again from its record: the same weights, or what differs.",
    "report": "One run on a page of HTML: conclusion, pictures, tables.",
    "journal": "Who served when, and why.",
    "promote": "Let a version serve, by hand.",
    "rollback": "Let the champion before serve again.",
    "serve": "Answer over HTTP.",
    "worker": "Take runs from the queue.",
    "stream": "Take rows and jobs from a broker, send events to it; send rows.",
    "up": "Everything: serve, collect rows, start runs, work them off.",
    "jobs": "Send data, get the retrained model back.",
    "images": "What scripts and foreign models are opened in: build it.",
    "notify": "What has not reached the people who want to know; with --test, whether it would.",
}
"""Every command and what it does; its code is the module of the same name beside this one."""


class _Lazily(click.Group):
    """Lists all commands without importing any."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"springtide.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from springtide.domain.errors import did_you_mean  # noqa: PLC0415 # difflib only when it is needed

            ctx.fail(f"there is no command {args[0]!r}: {did_you_mean(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)


@click.group(cls=_Lazily, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("springtide.toml"),
    show_default=True,
    envvar="SPRINGTIDE_CONFIG",
    help="The settings.",
)
@click.version_option(__version__, prog_name="springtide")
@click.pass_context
def group(ctx: click.Context, config: Path) -> None:
    """Keep models in production fresh and honest.

    Start with `springtide demo`, or with `springtide init`.
    """
    ctx.obj = config


def main(args: Sequence[str] | None = None) -> None:
    """Run a command; an error a person can fix is printed as what, where and what to do, and exits with 1."""
    try:
        group.main(args=args, prog_name="springtide", standalone_mode=False)
    except SpringtideError as error:
        notes = [f"  {note}" for note in getattr(error, "__notes__", ())]
        click.echo("\n".join([f"{type(error).__name__}: {error}", *notes]), err=True)
        sys.exit(1)
    except click.Abort:
        click.echo("stopped; nothing half-done is kept", err=True)
        sys.exit(130)
    except KeyboardInterrupt:
        click.echo("stopped; nothing half-done is kept", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)


if __name__ == "__main__":
    main()
