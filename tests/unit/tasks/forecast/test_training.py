from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
import torch
from tests.synthetic import HOUR, JUDGED_FROM, candles, plain, silent, windows

from springtide.tasks.forecast.networks.forecaster import build_forecaster
from springtide.tasks.forecast.networks.layout import Layout
from springtide.tasks.forecast.task import ForecastTask
from springtide.tasks.forecast.training import choose_device, train
from springtide.tasks.seam import Advance, Budget

if TYPE_CHECKING:
    from springtide.tasks.forecast.items import Windows
    from springtide.tasks.forecast.training import Fitted

TASK = ForecastTask()
CPU = Budget(60, seed=3, device="cpu")


def fit(items: Windows, *, seed: int = 3) -> Fitted:
    return TASK.fit(items, start=None, budget=replace(CPU, seed=seed), progress=silent)


def on_validation(items: Windows) -> Windows:
    """The validation items, judged."""
    return replace(items, judging=items.validation)


@pytest.mark.parametrize(("network", "kind"), [("mixer", "candles"), ("mixer", "plain"), ("lstm", "candles")])
def test_a_network_learns_that_volatility_follows_the_hour(network: str, kind: str) -> None:
    items = windows(candles() if kind == "candles" else plain(), network=network, max_steps=100, learning_rate=1e-3)
    fitted = fit(items)
    assert fitted.facts["best_step"] > 0
    for asked in (items, on_validation(items)):
        baseline = TASK.losses(TASK.baselines(items)["ewma-volatility"], asked)
        assert TASK.losses(fitted, asked).mean < 0.97 * baseline.mean


def test_the_validation_losses_that_are_told_are_those_that_are_judged() -> None:
    items = windows(candles(), max_steps=100, learning_rate=1e-3)
    fitted = fit(items)
    start = TASK.losses(fit(windows(candles(), max_steps=0)), on_validation(items)).mean
    assert fitted.facts["validation_loss_at_start"] == pytest.approx(start, rel=1e-6)
    assert fitted.facts["validation_loss"] == pytest.approx(TASK.losses(fitted, on_validation(items)).mean, rel=1e-6)


@pytest.mark.parametrize("learning_rate", [1e-3, 1.0])
def test_weights_that_are_worse_on_validation_than_the_start_are_never_returned(learning_rate: float) -> None:
    noise = candles().with_columns(close=100 + pl.int_range(pl.len()).hash(seed=1).mod(1000) / 500)
    items = windows(noise, max_steps=100, learning_rate=learning_rate)
    start = TASK.losses(TASK.baselines(items)["ewma-volatility"], on_validation(items)).mean
    assert TASK.losses(fit(items), on_validation(items)).mean <= start * (1 + 1e-9)


def test_no_steps_return_the_start() -> None:
    fitted = fit(windows(candles(), max_steps=0))
    assert (fitted.facts["steps"], fitted.facts["best_step"]) == (0, 0)
    assert fitted.facts["validation_loss"] == fitted.facts["validation_loss_at_start"]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    items = windows(plain(), max_steps=50, learning_rate=1e-3)
    first, again, other = fit(items), fit(items), fit(items, seed=4)
    answers = [one(items, items.judging) for one in (first, again, other)]
    assert np.array_equal(answers[0], answers[1])
    assert not np.allclose(answers[0], answers[2], rtol=1e-7)


def test_a_fit_leaves_the_random_numbers_of_everyone_else_alone() -> None:
    before = torch.random.get_rng_state()
    fit(windows(candles(), max_steps=2))
    assert torch.equal(before, torch.random.get_rng_state())


def timed(items: Windows, *, seconds: float, progress: list[Advance], steps: int | None = None) -> Fitted:
    """A fit whose clock goes one second forward whenever it is read."""
    layout = Layout("candles", "mixer", items.recipe.window, items.recipe.horizon, items.recipe.levels, 0.94)
    table = torch.tensor(np.tile(np.linspace(-3, 3, len(layout.levels)), (layout.horizon, 1)))
    ticks = itertools.count()
    budget = Budget(seconds, device="cpu", steps=steps)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_forecaster(layout, table)
    return train(
        items,
        network,
        layout,
        budget=budget,
        progress=progress.append,
        clock=lambda: float(next(ticks)),
    )


def test_a_fit_stops_when_its_time_is_over() -> None:
    told: list[Advance] = []
    fitted = timed(windows(candles(), max_steps=10_000), seconds=7.0, progress=told)
    assert fitted.facts["stopped_by"] == "time budget"
    assert fitted.facts["steps"] <= 7
    assert told[-1].done == 1.0
    assert told[-1].seconds_left == 0.0


def test_a_fit_that_its_time_stopped_can_be_repeated_step_for_step() -> None:
    items = windows(candles(), max_steps=10_000, learning_rate=1e-3)
    told: list[Advance] = []
    first = timed(items, seconds=63.0, progress=[])
    again = timed(items, seconds=0.0, progress=told, steps=first.facts["steps"])
    assert first.facts["stopped_by"] == "time budget"
    assert 50 < first.facts["steps"] < 100, "it was stopped between two looks"
    assert again.facts["stopped_by"] == "budget of steps"
    same = first.facts.keys() - {"seconds", "stopped_by"}
    assert {name: first.facts[name] for name in same} == {name: again.facts[name] for name in same}
    weights = (one.network.state_dict() for one in (first, again))
    assert all(torch.equal(one, other) for one, other in zip(*(state.values() for state in weights), strict=True))
    assert told[-1].done == 1.0
    assert np.isfinite(told[-1].seconds_left)


def test_a_fit_that_runs_to_its_last_step_says_so() -> None:
    told: list[Advance] = []
    fitted = timed(windows(candles(), max_steps=100), seconds=1e6, progress=told)
    assert (fitted.facts["stopped_by"], fitted.facts["steps"]) == ("max_steps", 100)
    assert told[-1].done == 1.0


def test_a_fit_without_a_gain_stops_before_its_last_step() -> None:
    noise = candles().with_columns(close=100 + pl.int_range(pl.len()).hash(seed=1).mod(1000) / 500)
    fitted = fit(windows(noise, max_steps=5000, learning_rate=1.0, patience=1))
    assert fitted.facts["stopped_by"] == "validation no longer improves"
    assert fitted.facts["steps"] < 5000


def test_progress_goes_forward_and_tells_the_best_loss_so_far() -> None:
    told: list[Advance] = []
    timed(windows(candles(), max_steps=200, learning_rate=1e-3), seconds=1e6, progress=told)
    assert len(told) >= 2
    for before, after in itertools.pairwise(told):
        assert before.done < after.done <= 1.0
        assert before.epoch < after.epoch
        assert before.loss >= after.loss


class StopHere(Exception):
    """Somebody asked for the run to be cancelled."""


def test_progress_that_raises_stops_the_fit() -> None:
    told = []

    def stop(advance: Advance) -> None:
        told.append(advance)
        raise StopHere

    with pytest.raises(StopHere):
        TASK.fit(windows(candles(), max_steps=10_000), start=None, budget=CPU, progress=stop)
    assert len(told) == 1


def test_the_device_is_the_one_that_was_asked_for() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


# --- nothing that is judged was seen in training


def with_another_future(rows: pl.DataFrame) -> pl.DataFrame:
    """The same rows until the judging begins, and entirely different values after it."""
    later = pl.col("ds") > JUDGED_FROM
    swing = 2 + pl.int_range(pl.len()).hash(seed=3).mod(1000) / 1000
    names = [name for name in rows.columns if name not in ("unique_id", "ds")]
    return rows.with_columns(pl.when(later).then(pl.col(name) * swing).otherwise(name).alias(name) for name in names)


@pytest.mark.parametrize("kind", ["candles", "plain"])
def test_no_row_after_the_judging_begins_changes_a_baseline(kind: str) -> None:
    rows = candles() if kind == "candles" else plain()
    items, others = windows(rows), windows(with_another_future(rows))
    here, there = (TASK.baselines(one, TASK.costly_baselines) for one in (items, others))
    before = np.concatenate([items.train, items.validation])
    for name in here:
        assert np.array_equal(here[name](items, before), there[name](others, before)), name
        assert TASK.losses(here[name], items).mean != TASK.losses(there[name], others).mean, name


@pytest.mark.parametrize("kind", ["candles", "plain"])
def test_no_row_after_the_judging_begins_changes_a_weight(kind: str) -> None:
    rows = candles() if kind == "candles" else plain()
    fitted = [
        fit(windows(future, max_steps=100, learning_rate=1e-3, train_period="10d"))
        for future in (rows, with_another_future(rows), rows.filter(pl.col("ds") <= JUDGED_FROM + 6 * HOUR))
    ]
    states = [one.network.state_dict() for one in fitted]
    assert fitted[0].facts["best_step"] > 0
    for other, one in zip(states[1:], fitted[1:], strict=True):
        assert all(torch.equal(weights, other[name]) for name, weights in states[0].items())
        assert one.facts["validation_loss"] == fitted[0].facts["validation_loss"]


def test_every_rival_is_judged_on_the_same_items() -> None:
    items = windows(candles(), max_steps=0)
    everyone = [TASK.losses(rival, items) for rival in (fit(items), *TASK.baselines(items).values())]
    for losses in everyone:
        assert losses.times.tolist() == items.panel.seconds[items.judging].tolist()
        assert losses.groups.tolist() == everyone[0].groups.tolist()
        assert (losses.name, losses.overlap) == ("pinball loss (share of the price)", 3)


def test_the_rows_of_a_run_are_those_of_its_series_until_its_end() -> None:
    which = TASK.rows(windows(candles()).recipe.model_copy(update={"series": ("A",)}), until=JUDGED_FROM)
    assert (which.series, which.start, which.end) == (("A",), None, JUDGED_FROM)
