from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.tasks.forecast.features.world import DRIVER, HOUR_S, World, make_world, worlds

from springtide.tasks.forecast.features.feature import batch_features, newest_features, reach_of
from springtide.tasks.forecast.features.joining import seen_column

few = settings(max_examples=10, deadline=None)


@few
@given(worlds)
def test_the_newest_row_has_the_features_that_the_whole_series_has_at_that_row(world: World) -> None:
    batch = batch_features(world.features, world.frame)
    for row in range(world.frame.height):
        newest = newest_features(world.features, world.columns(last=row))
        np.testing.assert_allclose(newest, batch[row], rtol=1e-9, atol=1e-12, err_msg=f"row {row}")


@few
@given(worlds, st.integers(0, 150))
def test_no_feature_looks_further_back_than_its_reach(world: World, row: int) -> None:
    batch = batch_features(world.features, world.frame)[row]
    for feature, whole in zip(world.features, batch, strict=True):
        columns = world.columns(max(0, row - feature.reach + 1), row)
        assert newest_features([feature], columns)[0] == pytest.approx(whole, rel=1e-9, abs=1e-12, nan_ok=True), (
            feature.name
        )


@few
@given(worlds, st.integers(0, 198), st.integers(0, 10_000))
def test_no_feature_of_a_row_changes_when_any_later_row_does(world: World, row: int, seed: int) -> None:
    before = batch_features(world.features, world.frame)
    rng = np.random.default_rng(seed)
    columns = world.columns()
    for name in columns:
        later = columns[name][row + 1 :].copy()
        if name == "ds":
            continue
        if name == seen_column(DRIVER):
            changed = 1.0 - later
        else:
            changed = np.where(np.isnan(later), 1.0, later) * rng.uniform(0.5, 2.0, len(later))
        columns[name] = np.concatenate([columns[name][: row + 1], changed])
    after = batch_features(world.features, pl.DataFrame(columns))
    np.testing.assert_array_equal(after[: row + 1], before[: row + 1])


@few
@given(worlds)
def test_every_feature_is_a_finite_number_or_not_known(world: World) -> None:
    assert not np.isinf(batch_features(world.features, world.frame)).any()


def test_a_feature_is_known_from_the_first_row_that_its_reach_allows() -> None:
    world = make_world()
    batch = batch_features(world.features, world.frame)
    first = {f.name: int(np.argmin(np.isnan(batch[:, place]))) for place, f in enumerate(world.features)}
    own = {f.name: f.reach - 1 for f in world.features if f.group in ("indicators", "timeframe 1d", "calendar")}
    assert {name: first[name] for name in own} == own


@pytest.mark.parametrize("kind", ["candles", "plain"])
def test_features_mean_the_same_at_a_price_of_100_and_of_60000(kind: str) -> None:
    world = make_world(kind, seed=3)
    ours = [f for f in world.features if not f.group.startswith("outside")]
    prices = [name for name in world.frame.columns if name in ("open", "high", "low", "close", "y")]
    cheap = world.frame.with_columns(pl.col(*prices) / 600, pl.col(f"value of {DRIVER}") * 7)
    if kind == "candles":
        cheap = cheap.with_columns(pl.col("volume") * 1000)
    np.testing.assert_allclose(batch_features(ours, cheap), batch_features(ours, world.frame), rtol=1e-9, atol=1e-9)


def test_a_series_that_does_not_move_is_in_the_middle_of_everything() -> None:
    world = make_world(flat=(0, 200))
    middle = {"rsi_3": 50.0, "stochastic_k_5": 50.0, "stochastic_d_5_3": 50.0}
    own = [f for f in world.features if f.group in ("indicators", "timeframe 2h", "timeframe 1d")]
    moved = [f for f in own if not f.name.startswith(("volume", "elapsed"))]
    found = dict(zip((f.name for f in moved), batch_features(moved, world.frame)[190].tolist(), strict=True))
    assert found == dict.fromkeys(found, 0.0) | middle


def test_a_driver_is_not_known_where_its_row_is_missing_and_known_again_at_the_next() -> None:
    world = make_world(driver_missing=frozenset({190, 191}))
    batch = batch_features(world.features, world.frame)
    driven = [place for place, f in enumerate(world.features) if f.group == f"driver {DRIVER}"]
    assert np.isnan(batch[190:192][:, driven]).all()
    assert not np.isnan(batch[[189, 192]][:, driven]).any()


def test_a_driver_that_is_the_series_itself_has_no_strength_beside_it() -> None:
    world = make_world()
    itself = world.frame.with_columns(
        pl.col("close").alias(f"value of {DRIVER}"), pl.lit(1.0).alias(seen_column(DRIVER))
    )
    (strength,) = [f for f in world.features if f.name == f"strength_24_of_{DRIVER}"]
    assert np.nanmax(np.abs(batch_features([strength], itself))) == 0.0


def test_no_features_are_an_array_without_columns() -> None:
    world = make_world()
    assert batch_features((), world.frame).shape == (200, 0)
    assert newest_features((), world.columns()).shape == (0,)
    assert reach_of(()) == 0


def test_a_bar_is_closed_by_the_candle_that_ends_with_it() -> None:
    world = make_world()
    elapsed = [f for f in world.features if f.name == "elapsed_2h"]
    shares = batch_features(elapsed, world.frame)[:, 0]
    odd = world.frame["ds"].to_numpy() // HOUR_S % 2 == 1
    assert set(shares[odd][20:]) == {0.0}  # the candle from 1:00 to 2:00 ends the bar from 0:00
    assert set(shares[~odd][20:]) == {0.5}
