"""Which recipe a run takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from springtide.domain.errors import SettingsError
from springtide.domain.recipe import FoundRecipe
from springtide.pipeline.recipes import change, choose, digest
from springtide.settings.words import Gate, Model
from springtide.tasks.forecast.recipe import ForecastRecipe
from springtide.tasks.forecast.space import search_space
from springtide.tasks.seam import OneOf

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DECLARED = Model(task="forecast", table="t", recipe=ForecastRecipe(window=48))
FOUND = FoundRecipe("m", NOON, {"window": 96}, digest(DECLARED), NOON - timedelta(days=90))


def with_other(**keys: Any) -> Model:
    return DECLARED.model_copy(update=keys)


def test_a_found_recipe_is_taken_with_all_else_as_declared() -> None:
    settings, origin = choose(DECLARED, FOUND)
    assert settings.recipe == DECLARED.recipe.model_copy(update={"window": 96})
    assert settings.model_copy(update={"recipe": DECLARED.recipe}) == DECLARED
    assert origin.facts == {
        "recipe": "found",
        "recipe_reason": "found on 2026-03-01 12:00: window 96",
        "searched_until": "2025-12-01T12:00:00+00:00",
    }


@pytest.mark.parametrize(
    ("found", "until", "reason"),
    [
        (None, None, "no search"),
        (FoundRecipe("m", NOON, {}, digest(DECLARED), NOON), None, "nothing better"),
        (FoundRecipe("m", NOON, {"window": 96}, "of other settings", NOON), None, "has changed since"),
        (FOUND, NOON - timedelta(days=30), "looked beyond the time of this run"),
    ],
)
def test_the_declared_recipe_is_taken_and_the_reason_is_told(
    found: FoundRecipe | None, until: datetime | None, reason: str
) -> None:
    settings, origin = choose(DECLARED, found, until=until)
    assert settings is DECLARED
    assert origin.recipe == "declared"
    assert reason in origin.reason


@pytest.mark.parametrize(
    "other",
    [
        with_other(recipe=ForecastRecipe(window=48, horizon=12)),
        with_other(recipe=ForecastRecipe(window=49)),
        with_other(table="u"),
        with_other(gate=Gate(judge=timedelta(days=30))),
    ],
    ids=["horizon", "window", "table", "judging span"],
)
def test_settings_that_a_search_hangs_on_have_another_digest(other: Model) -> None:
    assert digest(other) != digest(DECLARED)


def test_settings_that_no_search_hangs_on_have_the_same_digest() -> None:
    assert digest(with_other(keep_versions=7, seed=3)) == digest(DECLARED)


def test_a_value_that_could_not_be_written_in_the_file_is_refused() -> None:
    with pytest.raises(SettingsError, match="window 3") as refused:
        change(DECLARED.recipe, {"window": 3})
    assert refused.value.where == "key window"


def test_a_preset_stays_under_what_a_search_has_found() -> None:
    classic = ForecastRecipe.model_validate({"preset": "classic"})
    assert change(classic, {"window": 60}).model_dump() == {**classic.model_dump(), "window": 60}
    assert "network" not in search_space(classic)


@pytest.mark.parametrize(
    "recipe",
    [
        ForecastRecipe(),
        ForecastRecipe(window=8, learning_rate=0.5, weight_decay=0.7, network="lstm"),
        ForecastRecipe(window=10_000, learning_rate=1e-6, weight_decay=0.0),
    ],
    ids=["default", "small", "large"],
)
def test_the_values_of_a_recipe_are_among_its_choices_and_every_choice_is_a_recipe(recipe: ForecastRecipe) -> None:
    for key, choice in search_space(recipe).items():
        declared = getattr(recipe, key)
        if isinstance(choice, OneOf):
            assert declared in choice.values
            assert len(set(choice.values)) == len(choice.values)
        else:
            assert choice.low <= declared <= choice.high
        for value in choice.values if isinstance(choice, OneOf) else (choice.low, choice.high):
            assert getattr(change(recipe, {key: value}), key) == value
