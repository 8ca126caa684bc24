"""``springtide show``: one run or version in full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from springtide.cli.opening import open_config
from springtide.cli.saying import json_option, print_json, print_table, short_time
from springtide.domain.printing import printable

if TYPE_CHECKING:
    from pathlib import Path

    from springtide.domain.model import Version
    from springtide.domain.run import Run

__all__ = ["command"]


@click.command("show")
@click.argument("what", metavar="RUN|MODEL@VERSION")
@json_option
@click.pass_obj
def command(config: Path, *, what: str, as_json: bool) -> None:
    """Print a run with its steps, or a version with all that it can be traced to."""
    registry = open_config(config).registry
    found = registry.resolve(what) if "@" in what else registry.run(what)
    if as_json:
        print_json(found)
    elif "@" in what:
        _print_version(found)  # type: ignore[arg-type] # the @ decides which it is
    else:
        _print_run(found)  # type: ignore[arg-type]


def _print_run(run: Run) -> None:
    click.echo(f"{run.id}: {run.state}, {', '.join(run.reasons)}, started {short_time(run.started)} UTC")
    rows = [
        (step.name, f"{step.seconds:.2f}" if step.seconds is not None else "", _flat(step.result)) for step in run.steps
    ]
    print_table("steps", ("step", "seconds", "result"), rows, numbers=("seconds",))
    if run.version is not None:
        click.echo(f"made {run.model}@{run.version}")
    if run.failure:
        what, where, do = (printable(words) for words in (run.failure.what, run.failure.where, run.failure.do))
        click.echo(f"{what}\n  where: {where}\n  do: {do}")


def _print_version(version: Version) -> None:
    manifest = version.manifest
    rows = [
        ("run", manifest.run),
        ("made", short_time(manifest.created)),
        ("code", manifest.code),
        ("learned until", short_time(manifest.trained_until)),
        ("snapshot", _flat(msgspec.to_builtins(manifest.snapshot))),
        ("recipe", _flat(dict(manifest.recipe))),
        ("files", _flat(dict(manifest.files))),
        ("verdict", version.verdict.reason),
        ("warning", version.verdict.warning),
    ]
    print_table(version.name, ("", ""), rows)


def _flat(result: Any) -> str:
    """A mapping in one line, inner mappings of mappings shortened to their names."""
    parts = []
    for name, value in result.items():
        if isinstance(value, dict):
            deep = any(isinstance(inner, dict) for inner in value.values())
            value = f"{{{', '.join(value) if deep else _flat(value)}}}"  # noqa: PLW2901 # the short form is what is shown
        parts.append(f"{name}={value:.5g}" if isinstance(value, float) else f"{name}={value}")
    return ", ".join(parts)
