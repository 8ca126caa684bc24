"""``springtide models``: the models and who serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from springtide.app.answers import Answers
from springtide.cli.opening import open_config
from springtide.cli.saying import json_option, print_json, print_table, short_time
from springtide.pipeline.recipes import choose

if TYPE_CHECKING:
    from pathlib import Path

    from springtide.domain.model import Version

__all__ = ["command"]


@click.command("models")
@json_option
@click.pass_obj
def command(config: Path, *, as_json: bool) -> None:
    """List the models of springtide.toml and of the registry, with who serves and until when."""
    home = open_config(config)
    answers = Answers(home)
    answers.shelf.look()
    cards = {card["model"]: card for card in answers.models()}
    names = sorted({*home.settings.models, *home.registry.models()})
    facts = []
    for name in names:
        settings, champion = home.settings.models.get(name), home.registry.champion(name)
        origin = choose(settings, home.registry.recipe(name))[1] if settings else None
        facts.append(
            {
                "model": name,
                "state": cards[name]["state"],
                "expires_at": cards[name]["expires_at"],
                "task": settings.task if settings else _task(champion),
                "table": settings.table if settings else None,
                "recipe": origin.recipe if origin else None,
                "recipe_reason": origin.reason if origin else None,
                "versions": len(home.registry.versions(name)) if name in home.registry.models() else 0,
                "champion": champion.number if champion else None,
                "since": champion.manifest.created if champion else None,
                "learned_until": champion.manifest.trained_until if champion else None,
                "verdict": champion.verdict.reason if champion else None,
            }
        )
    if as_json:
        print_json(facts)
        return
    rows = [
        (
            *(one[key] for key in ("model", "state", "task", "table", "versions", "champion")),
            *(short_time(one[key]) for key in ("since", "learned_until", "expires_at")),
            one["recipe"],
        )
        for one in facts
    ]
    columns = ("model", "state", "task", "table", "versions", "champion", "made", "learned until", "expires", "recipe")
    print_table("models", columns, rows)


def _task(champion: Version | None) -> str:
    """Of a model that springtide.toml does not name: jobs make those of tables."""
    task = "table" if champion is None else champion.manifest.task
    return task if task == "table" else "not in springtide.toml"
