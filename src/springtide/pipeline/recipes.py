"""Which recipe a run takes: the declared one, or the one that a search has found for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - read by what makes an origin of JSON
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from pydantic import ValidationError

from springtide.domain.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from springtide.domain.recipe import FoundRecipe
    from springtide.settings.words import Model

__all__ = ["DECLARED", "Origin", "change", "choose", "digest"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a run's recipe came from, and why it is that one."""

    recipe: Literal["declared", "found"]
    reason: str
    seen_until: datetime | None = None  # the end of all that the search was judged on

    @property
    def facts(self) -> Mapping[str, Any]:
        """Plain JSON for the run's record."""
        seen = {} if self.seen_until is None else {"searched_until": self.seen_until.isoformat()}
        return {"recipe": self.recipe, "recipe_reason": self.reason, **seen}


DECLARED = Origin("declared", "no search was made")


def choose(settings: Model, found: FoundRecipe | None, *, until: datetime | None = None) -> tuple[Model, Origin]:
    """The settings of a run, and where their recipe came from.

    `until` is the past time as of which the run is made, if it is: the search has looked at what came after it.
    """
    if found is None:
        return settings, DECLARED
    made = f"{found.found:%Y-%m-%d %H:%M}"
    if found.declared != digest(settings):
        return settings, Origin("declared", f"springtide.toml has changed since the search of {made}")
    if not found.changes:
        return settings, Origin("declared", f"the search of {made} found nothing better")
    if until is not None:
        return settings, Origin("declared", f"the search of {made} has looked beyond the time of this run")
    recipe = change(settings.recipe, found.changes)
    reason = f"found on {made}: {listed(found.changes)}"
    return settings.model_copy(update={"recipe": recipe}), Origin("found", reason, found.seen_until)


def change(recipe: Any, changes: Mapping[str, Any]) -> Any:
    """`recipe` with other values for some of its keys, checked as if they were written in springtide.toml.

    Raises
    ------
    SettingsError
        If one cannot be.
    """
    try:
        return type(recipe).model_validate({**recipe.model_dump(exclude_unset=True), **changes})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise SettingsError(
            f"a recipe cannot have {listed(changes)}: {first['msg']}",
            where=f"key {'.'.join(str(part) for part in first['loc'])}",
            do="search again, or forget what was found: springtide retrain MODEL --declared",
        ) from error


def digest(settings: Model) -> str:
    """Tells one set of declared settings from another, as far as the outcome of a search hangs on them."""
    declared = settings.model_dump(mode="json", include={"task", "table"})
    declared["judge"] = settings.gate.judge.total_seconds()
    declared["recipe"] = settings.recipe.model_dump(mode="json", exclude_unset=True)
    return sha256(msgspec.json.encode(declared, order="sorted")).hexdigest()


def listed(changes: Mapping[str, Any]) -> str:
    """``network nlinear, window 336``."""
    return ", ".join(f"{key} {value}" for key, value in changes.items()) or "nothing else"
