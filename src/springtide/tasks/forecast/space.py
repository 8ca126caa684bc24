"""What a search may choose of a forecast's recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from springtide.tasks.seam import Between, OneOf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from springtide.tasks.forecast.recipe import ForecastRecipe
    from springtide.tasks.seam import Choice

__all__ = ["search_space"]

NETWORKS = ("mixer", "nlinear", "nhits", "patch")  # an lstm costs ten times as much as the dearest of them
WINDOWS = (1 / 4, 1 / 2, 1, 2, 4)  # times the declared one
LEARNING_RATES = (1e-4, 3e-3)
WEIGHT_DECAYS = (0.0, 0.01, 0.03, 0.1, 0.3)
LEAST_WINDOW, MOST_WINDOW = 8, 10_000


def search_space(recipe: ForecastRecipe) -> Mapping[str, Choice]:
    """Choices around `recipe`, whose own values are among them.

    >>> from springtide.tasks.forecast.recipe import ForecastRecipe
    >>> search_space(ForecastRecipe(window=24))["window"]
    OneOf(values=(8, 12, 24, 48, 96))
    """
    windows = {min(MOST_WINDOW, max(LEAST_WINDOW, round(recipe.window * factor))) for factor in WINDOWS}
    low, high = LEARNING_RATES
    space: dict[str, Choice] = {
        "window": OneOf(tuple(sorted(windows))),
        "network": OneOf(tuple(dict.fromkeys((recipe.network, *NETWORKS)))),
        "learning_rate": Between(min(low, recipe.learning_rate), max(high, recipe.learning_rate), logarithmic=True),
        "weight_decay": OneOf(tuple(sorted({*WEIGHT_DECAYS, recipe.weight_decay}))),
    }
    if recipe.network == "classic":  # a model that people know: it answers in a way of its own
        del space["network"]
    return space
