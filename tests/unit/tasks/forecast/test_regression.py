from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from tests.synthetic import candles, frozen, silent, windows

from springtide.tasks.forecast.networks.head import QuantileHead
from springtide.tasks.forecast.regression import garman_klass
from springtide.tasks.forecast.task import ForecastTask
from springtide.tasks.forecast.training import WindowTensors
from springtide.tasks.seam import Budget

if TYPE_CHECKING:
    from springtide.tasks.forecast.items import Windows
    from springtide.tasks.forecast.training import Fitted

TASK = ForecastTask()


def fresh(items: Windows) -> Fitted:
    assert items.recipe.max_steps == 0
    return TASK.fit(items, start=None, budget=Budget(60, device="cpu"), progress=silent)


def on_validation(items: Windows) -> Windows:
    return replace(items, judging=items.validation)


def test_a_fresh_network_beats_the_volatility_baseline_where_volatility_follows_the_hour() -> None:
    items = windows(candles(), max_steps=0)
    baseline = TASK.losses(TASK.baselines(items)["ewma-volatility"], items).mean
    assert TASK.losses(fresh(items), items).mean < 0.97 * baseline


def test_a_fresh_network_is_never_worse_on_validation_than_the_volatility_baseline() -> None:
    flat = candles().with_columns(high=candles()["close"], low=candles()["close"], open=candles()["close"])
    for rows in (candles(seed=5), flat):
        items = windows(rows, max_steps=0)
        baseline = TASK.losses(TASK.baselines(items)["ewma-volatility"], on_validation(items)).mean
        assert TASK.losses(fresh(items), on_validation(items)).mean <= baseline * (1 + 1e-9)


def test_the_scale_is_the_ridge_regression_of_the_coming_log_volatility(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("springtide.tasks.forecast.regression.RIDGES", (0.1,))
    items = windows(candles(), max_steps=0)
    head = fresh(items).network.head
    assert isinstance(head, QuantileHead)
    network = fresh(items).network
    with torch.inference_mode():
        observed = network.observe(*WindowTensors.of(items, torch.device("cpu")).inputs(torch.from_numpy(items.train)))
    facts, volatility = observed.summary.double().numpy(), observed.volatility.numpy()
    variance = garman_klass(items.panel)
    coming = [
        [
            0.5 * np.log(variance[row + 1 : row + 1 + steps].mean() / unit**2 + 1e-4)
            for steps in range(1, items.recipe.horizon + 1)
        ]
        for row, unit in zip(items.train, volatility, strict=True)
    ]
    spread = np.maximum(facts.std(axis=0), 0.05)
    scaled = (facts - facts.mean(axis=0)) / spread
    waves = head.waves.double().numpy()
    wanted = np.array(coming) @ np.linalg.pinv(waves)
    # a ridge regression is least squares with rows of zeros that pull the weights towards none
    pulled = np.vstack([scaled, np.sqrt(0.1 * len(scaled)) * np.eye(scaled.shape[1])])
    targets = np.vstack([wanted - wanted.mean(axis=0), np.zeros((scaled.shape[1], wanted.shape[1]))])
    weights = np.linalg.lstsq(pulled, targets, rcond=None)[0] / spread[:, None]
    assert head.direct.weight.detach().double().numpy() == pytest.approx(weights.T, rel=1e-3, abs=1e-4)


def test_no_row_after_training_changes_where_a_network_starts_but_through_validation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("springtide.tasks.forecast.regression.RIDGES", (0.1,))
    rows = candles()
    items = windows(rows, max_steps=0)
    end = int(items.panel.seconds[items.train].max()) + items.recipe.horizon * items.panel.step_s
    later = rows["ds"].dt.epoch("s") > end
    shaken = rows.with_columns((rows["volume"] * (1 + 0.5 * later.cast(float))).alias("volume"))
    one, other = (fresh(windows(one, max_steps=0)).network.head.state_dict() for one in (rows, shaken))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_prices_that_stand_still_after_training_do_not_let_the_intervals_explode() -> None:
    items = windows(frozen(candles(), range(560, 650)), window=72, max_steps=0)
    answers = fresh(items)(items, items.judging)
    usual = TASK.baselines(items)["ewma-volatility"](items, items.judging)
    widest, baseline = ((one[:, -1, -1] / one[:, -1, 0]).max() for one in (answers, usual))
    assert baseline < widest < 2 * baseline


def test_facts_beyond_those_of_training_count_as_the_nearest_of_them() -> None:
    items = windows(frozen(candles(), range(560, 650)), window=72, max_steps=0)
    network = fresh(items).network
    tensors = WindowTensors.of(items, torch.device("cpu"))
    seen, met = (
        network.observe(*tensors.inputs(torch.from_numpy(some))).summary for some in (items.train, items.judging)
    )
    assert torch.equal(network.head.state_dict()["least"], seen.amin(dim=0))
    assert torch.equal(network.head.state_dict()["most"], seen.amax(dim=0))
    assert ((met < seen.amin(dim=0)) | (met > seen.amax(dim=0))).any()
