from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from springtide.tasks.forecast.codec import interval_columns
from springtide.tasks.forecast.recipe import ForecastRecipe

shares = st.sets(st.integers(1, 99), min_size=1, max_size=8).map(lambda chosen: tuple(sorted(chosen)))


@given(shares)
def test_levels_rise_around_the_median_and_close_in_what_each_interval_says(intervals: tuple[int, ...]) -> None:
    levels = np.array(ForecastRecipe(intervals=intervals).levels)
    assert np.all(np.diff(levels) > 0)
    assert levels[len(levels) // 2] == 0.5
    assert np.allclose(levels + levels[::-1], 1)
    for share in intervals:
        names = interval_columns("m", intervals)
        assert levels[names[f"m-hi-{share}"]] - levels[names[f"m-lo-{share}"]] == pytest.approx(share / 100)


@pytest.mark.parametrize("intervals", [(), (90, 50), (50, 50), (0, 50), (50, 100)])
def test_intervals_that_make_no_levels_are_refused(intervals: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError):
        ForecastRecipe(intervals=intervals)


def test_a_recipe_is_read_back_from_a_manifest_as_it_was() -> None:
    outside = {"table": "rates", "columns": ["rate"], "delay": "90m", "max_age": "1d"}
    written = {"preset": "classic", "series": ["a"], "train_period": "2y", "features": {"outside": {"rate": outside}}}
    recipe = ForecastRecipe.model_validate(written)
    assert ForecastRecipe.model_validate(recipe.model_dump(mode="json")) == recipe
