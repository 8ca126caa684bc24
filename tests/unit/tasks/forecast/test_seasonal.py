"""Plain series with seasons: where a network starts, and what it can never say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
import torch
from tests.synthetic import candles, seasonal, silent, windows

from springtide.domain.errors import BadRows
from springtide.tasks.forecast.networks.seasonal import SeasonalHead
from springtide.tasks.forecast.task import ForecastTask
from springtide.tasks.forecast.training import WindowTensors
from springtide.tasks.seam import Budget

if TYPE_CHECKING:
    from springtide.tasks.forecast.items import Windows
    from springtide.tasks.forecast.training import Fitted

TASK = ForecastTask()
NETWORKS = ["lstm", "mixer", "nhits", "nlinear", "patch"]
HORIZON = 30  # more than a season


def items_of(rows: pl.DataFrame | None = None, **changes: Any) -> Windows:
    return windows(
        seasonal() if rows is None else rows, **({"window": 72, "horizon": HORIZON, "max_steps": 0} | changes)
    )


def fit(items: Windows) -> Fitted:
    return TASK.fit(items, start=None, budget=Budget(60, device="cpu"), progress=silent)


def shaken(fitted: Fitted, *, by: float = 0.1) -> Fitted:
    """The same network with every weight moved at random."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weights in fitted.network.parameters():
            weights.add_(by * torch.randn(weights.shape, generator=generator))
    return fitted


@pytest.fixture(params=NETWORKS)
def items(request: pytest.FixtureRequest) -> Windows:
    return items_of(network=request.param)


def test_an_untrained_network_is_the_seasonal_baseline(items: Windows) -> None:
    baseline = TASK.baselines(items)["seasonal-naive-scaled"](items, items.judging)
    assert fit(items)(items, items.judging) == pytest.approx(baseline, rel=1e-6, abs=1e-6)


def test_the_median_of_the_seasonal_baseline_is_the_seasonal_naive(items: Windows) -> None:
    rivals = TASK.baselines(items)
    scaled, naive = (rivals[name](items, items.judging) for name in ("seasonal-naive-scaled", "seasonal-naive"))
    middle = scaled.shape[2] // 2
    assert scaled[:, :, middle] == pytest.approx(naive[:, :, middle], rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("by", [0.03, 1.0])
def test_quantiles_never_cross_whatever_the_weights_are(items: Windows, by: float) -> None:
    fitted = fit(items)
    before = fitted(items, items.judging)
    quantiles = shaken(fitted, by=by)(items, items.judging)
    assert quantiles.shape == (len(items.judging), HORIZON, 7)
    assert np.isfinite(quantiles).all()
    assert not np.allclose(quantiles, before, rtol=1e-6)
    assert np.all(np.diff(quantiles, axis=2) >= 0)


def test_the_loss_has_a_gradient_for_every_weight(items: Windows) -> None:
    network = shaken(fit(items)).network
    some = torch.from_numpy(items.train[::20])
    tensors = WindowTensors.of(items, torch.device("cpu"))
    missed = tensors.outcomes(some)[:, :, None] - network.quantiles(*tensors.inputs(some))
    torch.autograd.backward(missed.abs().mean())
    without = [name for name, weights in network.named_parameters() if weights.grad is None or not weights.grad.any()]
    assert without == []


def test_forecasts_move_with_the_level_and_the_unit_of_the_series(items: Windows) -> None:
    rows = seasonal().with_columns(pl.col("y") * 1000 + 50_000)
    moved = items_of(rows, network=items.recipe.network)
    fitted = shaken(fit(items), by=0.03)
    assert fitted(moved, moved.judging) == pytest.approx(1000 * fitted(items, items.judging) + 50_000, rel=1e-5)


def test_forecasts_of_ratios_are_in_the_unit_of_the_series() -> None:
    rows = seasonal().with_columns(pl.col("y").exp())
    items = items_of(rows, logarithmic=True)
    larger = items_of(rows.with_columns(pl.col("y") * 1000), logarithmic=True)
    fitted = shaken(fit(items), by=0.03)
    quantiles = fitted(items, items.judging)
    assert np.all(quantiles > 0)
    assert fitted(larger, larger.judging) == pytest.approx(1000 * quantiles, rel=1e-4)


def test_ratios_of_values_that_are_not_positive_are_refused() -> None:
    with pytest.raises(BadRows, match="not positive"):
        items_of(logarithmic=True)


@pytest.mark.parametrize(
    "changes", [{"season": 1}, {"window": 47}], ids=["no season", "a window shorter than two seasons"]
)
def test_a_network_that_sees_no_season_starts_at_the_volatility_baseline(changes: dict[str, Any]) -> None:
    items = items_of(**changes)
    baselines = TASK.baselines(items)
    assert "seasonal-naive-scaled" not in baselines
    assert fit(items)(items, items.judging) == pytest.approx(baselines["ewma-volatility"](items, items.judging))


def test_a_window_that_repeats_itself_exactly_has_finite_quantiles() -> None:
    rows = seasonal().with_columns(
        y=pl.when(pl.col("ds").rank("dense") > 400).then(pl.col("ds").dt.hour()).otherwise("y")
    )
    items = items_of(rows)
    quantiles = shaken(fit(items))(items, items.judging)
    assert np.isfinite(quantiles).all()
    assert np.all(np.diff(quantiles, axis=2) >= 0)


@pytest.mark.parametrize("network", ["nhits", "nlinear"])
def test_training_learns_that_every_other_day_is_different(network: str) -> None:
    items = items_of(network=network, max_steps=100, learning_rate=3e-3, intervals=(80,))
    fitted = fit(items)
    assert isinstance(fitted.network.head, SeasonalHead)
    losses = TASK.losses(fitted, items).mean
    assert losses < 0.7 * TASK.losses(TASK.baselines(items)["seasonal-naive-scaled"], items).mean


def test_candles_have_no_seasonal_baseline() -> None:
    assert "seasonal-naive-scaled" not in TASK.baselines(windows(candles(), window=72))
