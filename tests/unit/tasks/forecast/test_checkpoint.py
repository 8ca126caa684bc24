from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tests.checkpoints import InMemory
from tests.synthetic import candles, seasonal, silent, windows

from springtide.tasks.forecast import regression, training
from springtide.tasks.forecast.checkpoint import (
    Standing,
    TrainingCheckpoint,
    UnusableCheckpoint,
    decode,
    encode,
    fingerprint,
)
from springtide.tasks.forecast.networks.forecaster import Layout, build_forecaster
from springtide.tasks.forecast.task import ForecastTask
from springtide.tasks.forecast.training import train
from springtide.tasks.seam import Budget

if TYPE_CHECKING:
    from pathlib import Path

    from springtide.tasks.forecast.items import Windows
    from springtide.tasks.forecast.training import Fitted
    from springtide.tasks.seam import Advance

TASK = ForecastTask(checkpoint_s=0.0)  # at every look
CPU = Budget(600, seed=3, device="cpu")
LOOKS = 4
MARK = b"m" * 32


@pytest.fixture(autouse=True)
def short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints are written at looks, and a few steps between them show as much as many."""
    monkeypatch.setattr(training, "LOOK_STEPS", 5)


def items_of(network: str = "mixer", kind: str = "candles", **changes: Any) -> Windows:
    if kind == "plain":
        return windows(seasonal(), **{"network": network, "window": 72, "horizon": 30} | changes)
    rows = candles(series=("BTC/USDT",))
    settings = {"network": network, "learning_rate": 3e-3, "max_steps": 5 * LOOKS, "validation": "2d"}
    return windows(rows, **settings | changes)


def fit(items: Windows, checkpoint: InMemory | None, *, start: Path | None = None, budget: Budget = CPU) -> Fitted:
    return TASK.fit(items, start=start, budget=budget, progress=silent, checkpoint=checkpoint)


def same(one: Fitted, other: Fitted) -> bool:
    """Whether two trainings ended at the same network, to the last bit, with the same facts."""
    mine, theirs = one.network.state_dict(), other.network.state_dict()
    passing = {"seconds", "resumed_from", "checkpoint_ignored"}
    facts = [{name: value for name, value in fitted.facts.items() if name not in passing} for fitted in (one, other)]
    return (
        mine.keys() == theirs.keys()
        and all(torch.equal(weights, theirs[name]) for name, weights in mine.items())
        and one.network.doubt.threshold == other.network.doubt.threshold
        and one.layout == other.layout
        and facts[0] == facts[1]
    )


@pytest.mark.parametrize(
    ("network", "kind"),
    [
        ("mixer", "candles"),
        ("patch", "candles"),
        ("nhits", "candles"),
        ("nhits", "plain"),
        ("lstm", "candles"),
        ("classic", "candles"),
    ],
)
def test_a_training_that_goes_on_from_any_look_ends_as_one_that_was_never_interrupted(network: str, kind: str) -> None:
    items, kept = items_of(network, kind), InMemory()
    whole = fit(items, None)
    assert whole.facts["best_step"] > 5, "there is something to lose"
    assert same(fit(items, kept), whole)
    assert len(kept.saved) == LOOKS + 1
    for look, saved in enumerate(kept.saved[:-1], start=1):
        resumed = fit(items, InMemory([saved]))
        assert same(resumed, whole), look
        assert resumed.facts["resumed_from"] == 5 * look
