"""The walk through history: each fold is judged by a model that has seen nothing of it."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from tests.contract.tabular_task import TabularRecipe, TabularTask

from springtide.domain.errors import SettingsError
from springtide.domain.model import Manifest, Version
from springtide.domain.rows import Filter
from springtide.domain.verdict import Verdict
from springtide.lake.tables import Lake
from springtide.pipeline.backtest import Backtest, judge_fold, plan_folds, sum_up
from springtide.settings.words import Gate, Model
from springtide.tasks.seam import Budget

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.contract.tabular_task import Line, Split

    from springtide.lake.table import Table

START = datetime(2024, 1, 1, tzinfo=UTC)
HOURS = 400
TASK = TabularTask()
GATE = Gate(baselines=("mean",), judge=timedelta(hours=100))
SETTINGS = Model(task="tabular", table="t", gate=GATE, recipe=TabularRecipe())


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """``target = 2 * x1`` and a little noise, hour by hour."""
    random = np.random.default_rng(1)
    x1, x2, noise = random.normal(size=(3, HOURS))
    rows = pl.DataFrame(
        {
            "unique_id": ["a"] * HOURS,
            "ds": [START + timedelta(hours=hour) for hour in range(HOURS)],
            "x1": x1,
            "x2": x2,
            "target": 2 * x1 + 0.01 * noise,
        },
        schema_overrides={"ds": pl.Datetime("us", "UTC")},
    )
    found = Lake(str(tmp_path)).open("t")
    found.write(rows)
    return found


def walk(
    table: Table, *, folds: int, task: Any = TASK, champion: Any = (None, None), settings: Model = SETTINGS
) -> Backtest:
    version, folder = champion
    jobs = plan_folds("m", settings, task=task, tables=lambda _name: table, champion=version, folds=folds)
    assert [job.number for job in jobs] == list(range(1, folds + 1))
    return sum_up(jobs, [judge_fold(job, tables=lambda _name: table, champion=folder) for job in jobs])


def test_the_folds_follow_each_other_and_end_with_the_table(table: Table) -> None:
    result = walk(table, folds=4)
    last = START + timedelta(hours=HOURS - 1)
    edges = [last - timedelta(hours=25 * back) for back in (4, 3, 2, 1, 0)]
    assert result.folds == tuple(itertools.pairwise(edges))


def test_a_costly_baseline_that_the_gate_names_takes_part(table: Table) -> None:
    assert "median" not in {standing.name for standing in walk(table, folds=1).standings}
    asked = SETTINGS.model_copy(update={"gate": GATE.model_copy(update={"baselines": ("median",)})})
    result = walk(table, folds=1, settings=asked)
    assert "median" in {standing.name for standing in result.standings}


def test_nothing_of_a_fold_or_after_it_is_seen_in_its_training(table: Table) -> None:
    seen: list[Split] = []

    class Watched(TabularTask):
        def fit(self, prepared: Split, **how: Any) -> Line:
            seen.append(prepared)
            return super().fit(prepared, **how)

    result = walk(table, folds=4, task=Watched())
    for (start, stop), split in zip(result.folds, seen, strict=True):
        assert split.trained_until <= start < split.judged_from
        assert split.seconds.max() < stop.timestamp()
    assert [len(split.seconds) for split in seen] == sorted(len(split.seconds) for split in seen)


def test_rows_that_come_while_folds_are_worked_out_change_none_of_them(table: Table) -> None:
    plan = {"task": TASK, "tables": lambda _name: table, "champion": None, "folds": 2}
    jobs = plan_folds("m", SETTINGS, **plan)
    before = sum_up(jobs, [judge_fold(job, tables=lambda _name: table, champion=None) for job in jobs])
    late = table.scan().collect().with_columns(target=pl.col("target") + 100.0)
    table.write(late)
    after = sum_up(jobs, [judge_fold(job, tables=lambda _name: table, champion=None) for job in jobs])
    assert after == before
    assert plan_folds("m", SETTINGS, **plan)[0].versions != jobs[0].versions


def test_model_and_rivals_are_compared_on_the_same_items(table: Table) -> None:
    result = walk(table, folds=2)
    standings = {one.name: one for one in result.standings}
    model, mean = standings["model"], standings["mean"]
    assert model.items == mean.items == 98  # the hour of each fold's start and that of its end are not judged
    assert mean.model_loss == model.loss
    assert model.difference is None
    assert mean.difference is not None
    assert mean.difference.gain > 0.9
    assert mean.difference.p_value < 0.01
    assert (model.mcs_p_value, mean.mcs_p_value) == (1.0, 0.0)
    assert list(mean.by_group) == ["rows"]
    assert result.notes == ()


def test_a_champion_takes_part_only_in_folds_after_all_it_has_seen(table: Table, tmp_path: Path) -> None:
    middle = START + timedelta(hours=HOURS - 1 - 50)
    folder = tmp_path / "champion"
    folder.mkdir()
    prepared = TASK.prepare(table.scan(), TabularRecipe(), judged_from=middle)
    fitted = TASK.fit(prepared, start=None, budget=Budget(1.0), progress=lambda _advance: None)
    signature: Mapping[str, Any] = TASK.export(fitted, prepared, folder).signature
    snapshot = table.snapshot(Filter())
    manifest = Manifest("m", "tabular", "run", START, "code", snapshot, {}, signature, {}, trained_until=middle)
    version = Version("m", 1, manifest, Verdict(True, "", "better", "loss", 1, 1.0, ()))
    result = walk(table, folds=2, champion=(version, folder))
    standings = {one.name: one for one in result.standings}
    assert standings["m@1"].items == 49
    assert standings["m@1"].mcs_p_value is None  # it was not asked for all items
    assert standings["model"].items == 98
    (note,) = result.notes
    assert note.startswith("m@1 has seen the window from 2024-01-13 12:00")


@pytest.mark.parametrize("folds", [0, 360_001])
def test_more_folds_than_the_span_has_seconds_are_refused(table: Table, folds: int) -> None:
    with pytest.raises(SettingsError, match="windows"):
        walk(table, folds=folds)
