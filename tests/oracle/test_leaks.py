"""Leaks that somebody planted are found, and said in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.synthetic import candles, plain, windows

from springtide.domain.errors import Leak
from springtide.tasks.forecast import surroundings
from springtide.tasks.forecast.features.build import build_features
from springtide.tasks.forecast.features.check import UnsoundFeature


def test_a_feature_that_reads_the_next_candle_stops_the_run_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def leaky(*args: object, **kwargs: object) -> tuple[object, ...]:
        first, *others = build_features(*args, **kwargs)  # type: ignore[arg-type]
        return replace(first, name="next_return", batch=pl.col("close").log().diff().shift(-1)), *others

    monkeypatch.setattr(surroundings, "build_features", leaky)
    with pytest.raises(UnsoundFeature, match="'next_return' reads rows after its own"):
        windows(candles(), features={"indicators": ["rsi"]})


@pytest.mark.parametrize("rows", [candles(), plain()], ids=["candles", "plain"])
def test_a_shuffled_split_is_refused(rows: pl.DataFrame) -> None:
    items = windows(rows)
    every = np.random.default_rng(0).permutation(np.concatenate([items.train, items.validation, items.judging]))
    parts = np.split(every, [len(items.train), len(items.train) + len(items.validation)])
    with pytest.raises(Leak, match="outcomes that come later than"):
        replace(items, train=parts[0], validation=parts[1], judging=parts[2])


def test_a_training_part_that_ends_one_step_too_late_is_refused() -> None:
    items = windows(candles())
    late = items.train.max() + 1
    with pytest.raises(Leak, match="1 of 1 training items"):
        replace(items, train=np.array([late]))
