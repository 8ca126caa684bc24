"""What a run reads of tables outside the model's own, as of a time at which they may not have begun."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from tests.synthetic import DAYS, HOUR, START, candles, recipe

from springtide.domain.errors import NotFound
from springtide.lake.tables import Lake
from springtide.pipeline.gathering import gather
from springtide.settings.words import Model
from springtide.tasks.forecast.task import ForecastTask

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from springtide.pipeline.gathering import Gathered

BEGINS = {"early": START, "late": START + 500 * HOUR}
BEFORE, AFTER = START + 400 * HOUR, START + 600 * HOUR
TASK = ForecastTask()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(str(tmp_path))
    moment = pl.col("ds").cast(pl.Datetime("us", "UTC"))
    lake.open("t", step_s=3600).write(candles().with_columns(moment))
    hours = {name: [first + HOUR * hour for hour in range(24 * DAYS - 500)] for name, first in BEGINS.items()}
    frames = [pl.DataFrame({"unique_id": name, "ds": times, "y": 1.0}) for name, times in hours.items()]
    lake.open("f").write(pl.concat(frames).with_columns(moment))
    return lake


def settings(**outside: Any) -> Model:
    spec = {"table": "f", "columns": ["y"], "delay": "1h", "max_age": "1d", "series": "late"} | outside
    return Model(task="forecast", table="t", recipe=recipe(features={"outside": {"f": spec}}))


def gathered(lake: Lake, known_at: datetime | None, **outside: Any) -> Gathered:
    return gather(settings(**outside), task=TASK, tables=lake.table, known_at=known_at)


def test_a_table_that_begins_later_has_no_rows_and_the_run_says_so(lake: Lake) -> None:
    found = gathered(lake, BEFORE)
    assert found.outside == {}
    assert found.unknown == ("table f: no row of late was known by 2024-01-17 16:00",)
    rows = found.others["f"].collect()
    assert (rows.height, rows.columns) == (0, ["unique_id", "ds", "y"])
    assert gathered(lake, AFTER).unknown == gathered(lake, None).unknown == ()


def test_such_a_run_can_be_prepared(lake: Lake) -> None:
    found = gathered(lake, BEFORE)
    prepared = TASK.prepare(found.rows, settings().recipe, judged_from=START + 300 * HOUR, outside=found.others)
    assert prepared.facts["features"] == 5
    assert len(prepared.judging)


def test_of_two_series_the_one_that_has_begun_is_read(lake: Lake) -> None:
    names = {"BTC/USDT": "late", "ETH/USDT": "early"}
    model = settings(series=names)
    model = model.model_copy(update={"recipe": model.recipe.model_copy(update={"series": tuple(names)})})
    found = gather(model, task=TASK, tables=lake.table, known_at=BEFORE)
    assert found.outside["f"].filter.series == ("early",)
    assert found.outside["f"].last < BEFORE
    assert "no row of late" in found.unknown[0]


def test_a_series_that_is_there_at_no_time_is_not_found(lake: Lake) -> None:
    for known_at in (BEFORE, AFTER, None):
        with pytest.raises(NotFound, match="no rows of latte") as refused:
            gathered(lake, known_at, series="latte")
        assert "did you mean 'late'" in refused.value.do
