"""``springtide triggers``: what starts runs by itself, and when sources are asked."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from springtide.app.triggers import model_triggers, source_rhythms
from springtide.cli.opening import open_config
from springtide.cli.saying import json_option, print_json, print_table, short_time

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["command"]


@click.command("triggers")
@json_option
@click.pass_obj
def command(config: Path, *, as_json: bool) -> None:
    """List what starts runs by itself, with what was seen last and comes next, and the sources that bring rows."""
    home = open_config(config)
    models, sources = model_triggers(home), source_rhythms(home)
    if as_json:
        print_json({"models": models, "sources": sources})
        return
    rows = [(one["model"], one["kind"], one["setting"], short_time(one["seen"]), _said(one["next"])) for one in models]
    print_table("triggers", ("model", "kind", "setting", "last fired or seen (UTC)", "next (UTC)"), rows)
    columns = ("source", "every", "last asked (UTC)", "last brought (UTC)", "silent after", "state", "next (UTC)")
    print_table("sources", columns, [_row(one) for one in sources])


def _row(source: dict[str, Any]) -> tuple[Any, ...]:
    times = (short_time(source["asked"]), short_time(source["brought"]), source["silent_after"])
    return (source["source"], source["every"], *times, _state(source), _said(source["next"]))


def _state(source: dict[str, Any]) -> str:
    said = "silent" if source["silent"] else ""
    if source["failures"]:
        said += f"{', ' if said else ''}failed {source['failures']} times: {source['error']}"
    return said or ("" if source["asked"] is None else "speaks")


def _said(moment: Any) -> str:
    return short_time(moment) if isinstance(moment, datetime) else str(moment or "")
