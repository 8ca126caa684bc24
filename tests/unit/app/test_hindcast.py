"""Forecasts of times that have come: each made from rows up to its own cutoff, and marked where they prove nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tests.serving_world import HORIZON, LAST, ROWS, SERIES, STEP_S, WINDOW, close, make_world, quantile

from springtide.app.hindcast import hindcasts, newest_rows
from springtide.serving.live import open_model
from springtide.tasks.forecast.codec import ForecastCodec

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from tests.serving_world import World

    from springtide.serving.live import Model

STEP = timedelta(seconds=STEP_S)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def model_of(world: World, *, trained_until: datetime | None) -> Model:
    version = world.publish(0.5)
    model, _ = open_model(version, world.home.registry.read, ForecastCodec())
    manifest = replace(version.manifest, trained_until=trained_until)
    return replace(model, version=replace(version, manifest=manifest))


def test_each_was_made_a_horizon_after_the_one_before_from_rows_up_to_its_cutoff(world: World) -> None:
    found = hindcasts(world.home.lake, "candles", model_of(world, trained_until=None), SERIES[1], count=4)
    assert [one.cutoff for one in found] == [LAST - back * HORIZON * STEP for back in (4, 3, 2, 1)]
    for back, one in zip((4, 3, 2, 1), found, strict=True):
        hour = ROWS - 1 - back * HORIZON
        middle = [quantile(close(SERIES[1], hour), 0.5, step, 2) for step in range(1, HORIZON + 1)]
        assert one.columns["btc"] == pytest.approx(middle)
        assert one.columns["ds"] == [one.cutoff + step * STEP for step in range(1, HORIZON + 1)]
        assert set(one.columns["unique_id"]) == {SERIES[1]}


def test_one_is_evidence_only_if_all_its_outcomes_came_after_the_training(world: World) -> None:
    lake, seen = world.home.lake, LAST - 2 * HORIZON * STEP
    found = hindcasts(lake, "candles", model_of(world, trained_until=seen), SERIES[0], count=4)
    assert [one.unseen for one in found] == [False, False, True, True]
    assert not any(
        one.unseen for one in hindcasts(lake, "candles", model_of(world, trained_until=None), SERIES[0], count=4)
    )


def test_there_are_fewer_where_history_is_too_short(world: World) -> None:
    found = hindcasts(world.home.lake, "candles", model_of(world, trained_until=None), SERIES[0], count=100)
    assert len(found) == (ROWS - WINDOW) // HORIZON


def test_the_rows_of_a_picture_are_the_newest_of_one_series(world: World) -> None:
    rows = newest_rows(world.home.lake.table("candles"), model_of(world, trained_until=None), SERIES[0], steps=5)
    assert rows["ds"].to_list() == [LAST - back * STEP for back in (4, 3, 2, 1, 0)]
    assert set(rows["unique_id"]) == {SERIES[0]}
