"""The rows of an earlier run, gathered again from its record."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from springtide.domain.errors import Conflict, NotFound
from springtide.lake.tables import Lake
from springtide.pipeline.gathering import Gathered, gather, gather_again, snapshot_facts, snapshots_from
from springtide.settings.words import Model
from springtide.tasks.forecast.features.spec import FeatureSpec
from springtide.tasks.forecast.recipe import ForecastRecipe
from springtide.tasks.forecast.task import ForecastTask

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

START = datetime(2024, 1, 1, tzinfo=UTC)
OUTSIDE = {"table": "rates", "columns": ["rate"], "delay": "1h", "max_age": "1d"}
FEATURES = FeatureSpec.model_validate({"outside": {"funding": OUTSIDE}})
SETTINGS = Model(task="forecast", table="prices", recipe=ForecastRecipe(series=("a",), features=FEATURES))


def rows(first: int, last: int, *, name: str, add: float = 0.0) -> pl.DataFrame:
    hours = range(first, last)
    return pl.DataFrame(
        {
            "unique_id": ["a"] * len(hours),
            "ds": [START + timedelta(hours=hour) for hour in hours],
            name: [hour + add for hour in hours],
        },
        schema_overrides={"ds": pl.Datetime("us", "UTC")},
    )


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    found = Lake(str(tmp_path))
    found.open("prices", step_s=3600).write(rows(0, 20, name="y"))
    found.open("rates", step_s=3600).write(rows(0, 20, name="rate"))
    return found


def gather_from(lake: Lake) -> Gathered:
    known_at = START + timedelta(hours=15, minutes=30)
    return gather(SETTINGS, task=ForecastTask(), tables=lake.table, known_at=known_at)


def kept(gathered: Gathered) -> Mapping[str, Any]:
    """What a run's record holds of it, after its way through a database."""
    facts: Mapping[str, Any] = json.loads(msgspec.json.encode({**snapshot_facts(gathered)}))
    return facts


def again(lake: Lake, facts: Mapping[str, Any]) -> Gathered:
    return gather_again(*snapshots_from(facts), tables=lake.table)


def test_rows_are_gathered_again_as_they_were_though_the_tables_went_on(lake: Lake) -> None:
    first = gather_from(lake)
    facts = kept(first)
    lake.table("prices").write(rows(10, 40, name="y", add=0.5))  # corrects what was learned from, and goes on
    lake.table("rates").write(rows(10, 40, name="rate", add=0.5))
    second = again(lake, facts)
    assert first.snapshot.rows == 15, "what was not known at half past three is not in it"
    assert (second.snapshot, second.outside) == (first.snapshot, first.outside)
    assert_frame_equal(second.rows.collect(), first.rows.collect())
    assert second.others.keys() == {"rates"}
    assert_frame_equal(second.others["rates"].collect(), first.others["rates"].collect())
    assert gather_from(lake).snapshot.sha256 != first.snapshot.sha256


def test_a_version_whose_files_were_removed_is_said_to_be_gone(lake: Lake) -> None:
    facts = kept(gather_from(lake))
    lake.table("prices").write(rows(10, 40, name="y", add=0.5))
    lake.table("prices").vacuum(retention_hours=0)
    with pytest.raises(NotFound, match="files of this version are gone"):
        again(lake, facts)


@pytest.mark.parametrize("name", ["prices", "rates"])
def test_a_table_that_was_replaced_is_not_taken_for_the_one_that_was_learned_from(lake: Lake, name: str) -> None:
    facts = kept(gather_from(lake))
    shutil.rmtree(f"{lake.place.url}/{name}")
    lake.open(name, step_s=3600).write(rows(0, 20, name="y" if name == "prices" else "rate", add=1.0))
    with pytest.raises(Conflict, match="another hash than when they were learned from"):
        again(lake, facts)


def test_a_table_that_is_gone_is_named(lake: Lake) -> None:
    facts = kept(gather_from(lake))
    shutil.rmtree(f"{lake.place.url}/rates")
    with pytest.raises(NotFound, match="there is no table 'rates'"):
        again(lake, facts)


def test_a_record_of_old_without_the_filter_is_refused_rather_than_guessed(lake: Lake) -> None:
    facts = {name: value for name, value in kept(gather_from(lake)).items() if name != "filter"}
    with pytest.raises(NotFound, match="does not say which rows"):
        snapshots_from(facts)
