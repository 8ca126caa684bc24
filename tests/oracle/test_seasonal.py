from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.synthetic import START, times, windows

from springtide.tasks.forecast.baselines.seasonal import fit_seasonal_quantiles
from springtide.tasks.forecast.panel import build_panel
from springtide.tasks.forecast.seasonal_scale import STEP_SHARE, seasonal_scale
from springtide.tasks.forecast.volatility import FLOOR

SEASON, WINDOW = 4, 11
HOURS = 90

numbers = st.integers(-1000, 1000).map(lambda n: n / 10)


def rows_of(values: dict[str, list[float]]) -> pl.DataFrame:
    return pl.concat(
        [pl.DataFrame({"unique_id": [name] * len(y), "ds": times(len(y)), "y": y}) for name, y in values.items()]
    )


def slow_scale(window: list[float]) -> float:
    """The scale of one whole window."""
    seasonal = [abs(window[at] - window[at - SEASON]) for at in range(SEASON, len(window))]
    stepwise = [abs(window[at] - window[at - 1]) for at in range(1, len(window))]
    return max(sum(seasonal) / len(seasonal), STEP_SHARE * sum(stepwise) / len(stepwise), FLOOR)


@given(st.dictionaries(st.sampled_from("abc"), st.lists(numbers, min_size=WINDOW, max_size=30), min_size=1))
def test_the_seasonal_scale_is_the_mean_change_over_a_season_inside_the_window(values: dict[str, list[float]]) -> None:
    panel = build_panel(rows_of(values).lazy())
    scale = seasonal_scale(panel, window=WINDOW, season=SEASON)
    for start, stop in zip(panel.bounds[:-1], panel.bounds[1:], strict=True):
        for row in range(start + WINDOW - 1, stop):
            assert scale[row] == pytest.approx(slow_scale(panel.level[row - WINDOW + 1 : row + 1].tolist()), rel=1e-9)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.booleans())
def test_the_seasonal_baseline_is_the_last_season_and_past_errors_in_units_of_the_scale(
    seed: int, logarithmic: bool
) -> None:
    rng = np.random.default_rng(seed)
    rows = rows_of({name: np.exp(rng.standard_normal(HOURS)).tolist() for name in "ab"})
    horizon = 6  # more than a season
    items = windows(
        rows,
        judged_from=START + timedelta(hours=70),
        season=SEASON,
        window=WINDOW,
        horizon=horizon,
        validation="8h",
        logarithmic=logarithmic,
    )
    level = np.log(items.panel.target) if logarithmic else items.panel.target

    def last_season(item: int, step: int) -> float:
        back = step
        while back > 0:
            back -= SEASON
        return float(level[item + back])

    def scale(item: int) -> float:
        return slow_scale(level[item - WINDOW + 1 : item + 1].tolist())

    quantiles = fit_seasonal_quantiles(items)(items, items.judging)
    for step in range(1, horizon + 1):
        errors = [(level[item + step] - last_season(item, step)) / scale(item) for item in items.train]
        spread = np.quantile(errors, items.recipe.levels) - np.quantile(errors, 0.5)
        for place, item in enumerate(items.judging):
            expected = last_season(item, step) + scale(item) * spread
            found = np.log(quantiles[place, step - 1]) if logarithmic else quantiles[place, step - 1]
            assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)
