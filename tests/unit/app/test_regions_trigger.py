"""A run when all regions have reported for a period, once for each."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest
from tests.unit.app.scheduler_world import NOON, World, model, open_in

from springtide.app.regions import accept
from springtide.app.triggers import model_triggers
from springtide.domain.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

ROWS = """
[sources.counts]
kind = "rows"
table = "candles"
values = { y = "number" }
"""
AWAITED = 'regions = ["omsk", "tver"]\nperiod = "7d"\nfull = 2\n'
MONDAY = date(2026, 1, 5)
LOOK = timedelta(seconds=6)


@pytest.fixture
def world(tmp_path: Path) -> World:
    toml = ROWS + AWAITED + model("counts", "regions = true").replace("BTC/USDT", "omsk")
    return World(tmp_path, open_in(tmp_path, toml))


def report(world: World, region: str, week: int, rows: int = 2) -> None:
    days = (MONDAY + timedelta(weeks=week, days=day) for day in range(rows))
    data = "ds,y\n" + "".join(f"{day},{week}\n" for day in days)
    accept(world.home, "candles", region=region, batch=None, data=data.encode(), form="csv", now=NOON)


def periods(world: World) -> list[str]:
    """The days that the submitted runs name."""
    return [reason.split()[-3] for _, reasons in world.submitted for reason in reasons]


def test_a_run_starts_when_the_last_region_has_reported_and_once(world: World) -> None:
    scheduler = world.scheduler()
    report(world, "omsk", 0)
    report(world, "tver", 0, rows=1)
    world.ticks(scheduler, LOOK, LOOK)
    assert world.submitted == []
    report(world, "tver", 0)
    world.ticks(scheduler, LOOK, LOOK, LOOK)
    said = "all 2 regions have reported for the period from 2026-01-05 00:00 UTC"
    assert world.submitted == [("counts", (said,))]


def test_rows_that_come_after_a_period_was_complete_start_nothing_more_for_it(world: World) -> None:
    scheduler = world.scheduler()
    for region in ("omsk", "tver"):
        report(world, region, 0)
    world.ticks(scheduler, LOOK)
    report(world, "omsk", 0, rows=5)
    report(world, "omsk", 1)
    world.ticks(scheduler, LOOK)
    assert periods(world) == ["2026-01-05"]
    report(world, "tver", 1)
    world.ticks(scheduler, LOOK)
    assert periods(world) == ["2026-01-05", "2026-01-12"]


def test_several_periods_at_once_make_one_run_and_one_that_is_late_makes_none(world: World) -> None:
    for week in (0, 2):
        for region in ("omsk", "tver"):
            report(world, region, week)
    scheduler = world.scheduler()
    world.ticks(scheduler, LOOK)
    assert periods(world) == ["2026-01-19"]
    for region in ("omsk", "tver"):
        report(world, region, 1)
    world.ticks(scheduler, LOOK)
    assert len(world.submitted) == 1


def test_the_next_process_knows_for_which_period_was_fired(world: World) -> None:
    for region in ("omsk", "tver"):
        report(world, region, 0)
    world.ticks(world.scheduler(), LOOK)
    scheduler = world.scheduler()
    world.ticks(scheduler, LOOK, LOOK)
    assert len(world.submitted) == 1
    for region in ("omsk", "tver"):
        report(world, region, 1)
    world.ticks(scheduler, LOOK)
    assert periods(world) == ["2026-01-05", "2026-01-12"]


def test_what_it_waits_for_is_told(world: World) -> None:
    assert model_triggers(world.home)[0]["next"] == "all regions have reported for a period"
    for region in ("omsk", "tver"):
        report(world, region, 0)
    world.ticks(world.scheduler(), LOOK)
    assert model_triggers(world.home)[0]["next"].endswith("for a period after that from 2026-01-05 00:00")


@pytest.mark.parametrize("source", ["", ROWS, ROWS + 'regions = ["omsk"]\n', ROWS + 'period = "7d"\n'])
def test_a_model_that_waits_for_regions_which_nobody_names_is_refused(tmp_path: Path, source: str) -> None:
    with pytest.raises(SettingsError, match="nothing names them"):
        open_in(tmp_path, source + model("counts", "regions = true"))
