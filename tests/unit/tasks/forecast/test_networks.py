from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
import torch
from tests.synthetic import candles, plain, silent, windows

from springtide.tasks.forecast.task import ForecastTask
from springtide.tasks.seam import Budget

if TYPE_CHECKING:
    from springtide.tasks.forecast.items import Windows
    from springtide.tasks.forecast.training import Fitted

TASK = ForecastTask()
BODIES = ["lstm", "mixer", "nhits", "nlinear", "patch"]
NETWORKS = [(body, kind) for body in BODIES for kind in ("candles", "plain")]


def untrained(items: Windows) -> Fitted:
    assert items.recipe.max_steps == 0
    return TASK.fit(items, start=None, budget=Budget(60, device="cpu"), progress=silent)


def shaken(fitted: Fitted, *, by: float) -> Fitted:
    """The same network with every weight moved at random."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weights in fitted.network.parameters():
            weights.add_(by * torch.randn(weights.shape, generator=generator))
    return fitted


@pytest.fixture(params=NETWORKS, ids="-".join)
def items(request: pytest.FixtureRequest) -> Windows:
    network, kind = request.param
    return windows(candles() if kind == "candles" else plain(), network=network, max_steps=0)


def test_an_untrained_network_is_the_volatility_baseline(items: Windows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("springtide.tasks.forecast.regression.RIDGES", ())  # on candles it then moves to a regression
    baseline = TASK.baselines(items)["ewma-volatility"](items, items.judging)
    assert untrained(items)(items, items.judging) == pytest.approx(baseline, rel=1e-9)


@pytest.mark.parametrize("by", [0.01, 0.05])
def test_quantiles_never_cross_whatever_the_weights_are(items: Windows, by: float) -> None:
    fitted = untrained(items)
    before = fitted(items, items.judging)
    quantiles = shaken(fitted, by=by)(items, items.judging)
    assert np.isfinite(quantiles).all()
    assert not np.allclose(quantiles, before, rtol=1e-6)
    assert np.all(np.diff(quantiles, axis=2) >= 0)


@pytest.mark.parametrize("network", BODIES)
@pytest.mark.parametrize("factor", [1000.0, 1e-4])
def test_candle_forecasts_are_in_the_unit_of_the_price(network: str, factor: float) -> None:
    prices = ("open", "high", "low", "close")
    items = windows(candles(), network=network, max_steps=0)
    larger = windows(candles().with_columns(pl.col(prices) * factor), network=network, max_steps=0)
    fitted = shaken(untrained(items), by=0.03)
    assert fitted(larger, larger.judging) == pytest.approx(factor * fitted(items, items.judging), rel=1e-6)


def test_candle_forecasts_do_not_depend_on_the_unit_of_the_volume() -> None:
    items = windows(candles(), max_steps=0)
    coins = windows(candles().with_columns(pl.col("volume") * 1000), max_steps=0)
    fitted = shaken(untrained(items), by=0.03)
    assert fitted(coins, coins.judging) == pytest.approx(fitted(items, items.judging), rel=1e-5)


@pytest.mark.parametrize("network", BODIES)
def test_plain_forecasts_move_with_the_level_and_the_unit_of_the_series(network: str) -> None:
    items = windows(plain(), network=network, max_steps=0)
    moved = windows(plain().with_columns(pl.col("y") * 1000 + 5000), network=network, max_steps=0)
    fitted = shaken(untrained(items), by=0.03)
    assert fitted(moved, moved.judging) == pytest.approx(1000 * fitted(items, items.judging) + 5000, rel=1e-5, abs=1e-3)


def test_an_answer_does_not_depend_on_the_other_items_that_were_asked_for(items: Windows) -> None:
    fitted = shaken(untrained(items), by=0.03)
    alone = np.concatenate([fitted(items, items.judging[at : at + 1]) for at in range(5)])
    assert alone == pytest.approx(fitted(items, items.judging)[:5], rel=1e-6)


def test_a_window_in_which_nothing_traded_still_has_finite_quantiles() -> None:
    rows = candles().with_columns(volume=pl.lit(0.0))
    still = pl.col("ds").rank("dense") > 500
    for name in ("open", "high", "low", "close"):
        rows = rows.with_columns(pl.when(still).then(50.0).otherwise(name).alias(name))
    items = windows(rows, max_steps=0)
    quantiles = shaken(untrained(items), by=0.03)(items, items.judging)
    assert np.isfinite(quantiles).all()
    assert np.all(np.diff(quantiles, axis=2) >= 0)
