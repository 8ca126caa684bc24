from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.synthetic import candles, silent, windows

from springtide.domain.errors import SettingsError
from springtide.tasks.forecast.networks.classic import ClassicObservation, calendar_dates
from springtide.tasks.forecast.recipe import ForecastRecipe
from springtide.tasks.forecast.task import ForecastTask
from springtide.tasks.seam import Budget

if TYPE_CHECKING:
    from pathlib import Path

TASK = ForecastTask()
ONE = candles(series=("BTC/USDT",))
CPU = Budget(60, device="cpu")


@given(st.datetimes(datetime(1970, 1, 1), datetime(2400, 1, 1)))  # noqa: DTZ001 # hypothesis wants naive bounds
def test_dates_are_those_of_the_calendar(moment: datetime) -> None:
    aware = moment.replace(tzinfo=UTC)
    found = calendar_dates(torch.tensor([int((aware - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1))]))
    week = (aware.timetuple().tm_yday - 1) // 7 + 1
    assert [int(value) for value in found] == [aware.weekday(), aware.day, week, aware.month]


def test_the_preset_is_the_known_model_and_what_is_written_goes_before_it() -> None:
    recipe = ForecastRecipe.model_validate({"preset": "classic"})
    assert (recipe.network, recipe.window, recipe.horizon) == ("classic", 120, 1)
    assert ForecastRecipe.model_validate({"preset": "classic", "horizon": 4}).horizon == 4


def test_it_learns_one_series() -> None:
    with pytest.raises(SettingsError, match="one series"):
        TASK.fit(windows(candles(), network="classic"), start=None, budget=CPU, progress=silent)


def test_its_scaler_knows_no_price_after_the_training_part() -> None:
    items = windows(ONE, network="classic", max_steps=0)
    observation = TASK.fit(items, start=None, budget=CPU, progress=silent).network.observation
    assert isinstance(observation, ClassicObservation)
    seen = items.panel.values[: items.train.max() + 1]
    assert observation.high[:4].tolist() == pytest.approx(seen[:, :4].max(axis=0).tolist())
    assert observation.high[3] < items.panel.target.max() or observation.low[3] > items.panel.target.min()


def test_it_learns_prices_and_is_exported_as_it_is(tmp_path: Path) -> None:
    items = windows(ONE, network="classic", max_steps=300, learning_rate=3e-3)
    fitted = TASK.fit(items, start=None, budget=CPU, progress=silent)
    assert fitted.facts["validation_loss"] < 0.5 * fitted.facts["validation_loss_at_start"]
    TASK.export(fitted, items, tmp_path)
    quantiles = TASK.load(tmp_path)(items, items.judging)
    assert quantiles == pytest.approx(fitted(items, items.judging), rel=1e-5)
    assert np.all(np.diff(quantiles, axis=2) >= 0)
