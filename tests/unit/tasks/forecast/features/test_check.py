from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
from tests.unit.tasks.forecast.features.world import HOUR_S, World, make_world

from springtide.domain.errors import SpringtideError
from springtide.tasks.forecast.features.check import UnsoundFeature, check_features
from springtide.tasks.forecast.features.feature import Feature


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(seed=5, missing=frozenset({60, 61}), driver_missing=frozenset({120}))


def peek(batch: pl.Expr, **changes: object) -> Feature:
    """A feature whose newest-row form cannot see what its batch form may."""
    return replace(Feature("peek", "indicators", 2, batch, lambda columns: float(columns["close"][-1])), **changes)


@pytest.mark.parametrize("kind", ["candles", "plain"])
def test_the_features_that_there_are_are_sound(kind: str) -> None:
    made = make_world(kind, seed=6)
    check_features(made.features, made.frame, rows=range(5, 195, 38))


LEAKS = {
    "the next row": pl.col("close").shift(-1),
    "a row far ahead": pl.col("close").shift(-90),
    "the mean of all rows": pl.col("close") - pl.col("close").mean(),
    "the top of the centred window": pl.col("close").rolling_max(5, center=True),
    "what is filled in backwards": pl.col("funding.rate").fill_nan(None).backward_fill(),
    "a driver's next row": pl.col("value of ETH/USDT").shift(-1),
}


@pytest.mark.parametrize("leak", LEAKS.values(), ids=LEAKS)
def test_a_feature_that_sees_later_rows_is_named(leak: pl.Expr, world: World) -> None:
    gap = world.frame.with_columns(
        pl.when(pl.int_range(pl.len()) < 195).then(float("nan")).otherwise("funding.rate").alias("funding.rate")
    )
    with pytest.raises(UnsoundFeature, match="feature 'peek' reads rows after its own"):
        check_features((*world.features, peek(leak)), gap)


def test_a_feature_that_is_another_one_when_it_is_served_is_named(world: World) -> None:
    with pytest.raises(SpringtideError, match="feature 'peek' is not the same in training and serving"):
        check_features((*world.features, peek(pl.col("close") * 1.000001)), world.frame)


def test_a_feature_that_reaches_further_than_it_says_is_named(world: World) -> None:
    short = [replace(f, reach=f.reach - 1) if f.name == "momentum_9" else f for f in world.features]
    with pytest.raises(UnsoundFeature, match="'momentum_9' is not the same"):
        check_features(short, world.frame)


def test_a_feature_that_adds_up_all_of_history_is_named(world: World) -> None:
    endless = peek(pl.col("volume").cum_sum(), newest=lambda columns: float(columns["volume"].sum()), reach=40)
    with pytest.raises(UnsoundFeature, match="'peek' is not the same"):
        check_features([endless], world.frame)


def test_the_rows_that_are_looked_at_when_none_are_named_have_rows_after_them(world: World) -> None:
    last = peek(pl.when(pl.col("ds") == pl.col("ds").max()).then(pl.col("close") + 1).otherwise(pl.col("close")))
    check_features([last], world.frame.filter(pl.col("ds") % HOUR_S == 0))


def test_no_features_have_nothing_to_check(world: World) -> None:
    check_features((), world.frame.clear())
