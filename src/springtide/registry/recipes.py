"""Found recipes as rows: one of each model, the newest."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import delete, insert, select

from springtide.domain.recipe import FoundRecipe
from springtide.registry.schema import RECIPES

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["find", "forget", "save"]


def save(connection: Connection, recipe: FoundRecipe) -> None:
    """Store what a search has found in place of what an earlier one had."""
    forget(connection, recipe.model)
    facts = {"declared": recipe.declared, "seen_until": recipe.seen_until, "facts": recipe.facts}
    connection.execute(
        insert(RECIPES).values(model=recipe.model, found=recipe.found, recipe=_json(recipe.changes), facts=_json(facts))
    )


def find(connection: Connection, model: str) -> FoundRecipe | None:
    """What the newest search of a model has found, if there was one."""
    row = connection.execute(select(RECIPES).where(RECIPES.c.model == model)).one_or_none()
    if row is None:
        return None
    facts = msgspec.json.decode(row.facts, type=dict[str, Any])
    return FoundRecipe(
        model=row.model,
        found=row.found,
        changes=msgspec.json.decode(row.recipe, type=dict[str, Any]),
        declared=facts["declared"],
        seen_until=datetime.fromisoformat(facts["seen_until"]),
        facts=facts["facts"],
    )


def forget(connection: Connection, model: str) -> bool:
    """Remove what was found for a model; says whether there was anything."""
    return connection.execute(delete(RECIPES).where(RECIPES.c.model == model)).rowcount > 0


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
