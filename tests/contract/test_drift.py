"""What a look at drift promises, whatever the task: quiet while nothing has changed, a sentence where something has."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
import numpy as np
import polars as pl
import pytest
from tests.contract.tabular_task import TabularRecipe, TabularTask

from springtide.domain.model import Manifest, Version
from springtide.domain.rows import Filter
from springtide.domain.verdict import Verdict
from springtide.lake.tables import Lake
from springtide.pipeline.drift import DriftReport, find_drift
from springtide.settings import words
from springtide.tasks.forecast.baselines import fit_baselines
from springtide.tasks.forecast.recipe import ForecastRecipe
from springtide.tasks.forecast.task import ForecastTask
from springtide.tasks.seam import Budget

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from springtide.tasks.forecast.baselines import Predictor
    from springtide.tasks.seam import Task

START = datetime(2024, 1, 1, tzinfo=UTC)
RECIPES = {
    "forecast": ForecastRecipe(window=24, horizon=4, max_steps=0, validation="4d"),  # type: ignore[arg-type] # a span is text
    "tabular": TabularRecipe(),
}
BASELINES = {"forecast": ("last-value", "ewma-volatility"), "tabular": ("mean",)}
TRAINED, NOW = 1500, 1700  # hours
STEPS = {"forecast": 3600, "tabular": None}
INPUTS = {"forecast": "volatility of a", "tabular": "x1"}


def candles(*, wilder: float = 1.0) -> pl.DataFrame:
    """Volatility in short clusters; from `TRAINED` on all changes are so many times as large."""
    random = np.random.default_rng(5)
    calm = np.exp(0.3 * np.repeat(random.standard_normal(NOW // 5), 5))
    changes = 0.005 * calm * random.standard_normal(NOW) * np.where(np.arange(NOW) < TRAINED, 1.0, wilder)
    close = 100 * np.exp(np.cumsum(changes))
    opened = np.concatenate([[100.0], close[:-1]])
    reach = np.exp(np.abs(changes) * random.random((2, NOW)))
    return frame(
        {
            "open": opened,
            "high": np.maximum(opened, close) * reach[0],
            "low": np.minimum(opened, close) / reach[1],
            "close": close,
            "volume": random.lognormal(3, 1, NOW),
        }
    )


def numbers(*, shift: float = 0.0, slope: float = 2.0) -> pl.DataFrame:
    """``target = 2 * x1 + noise``; from `TRAINED` on another slope, and `x1` elsewhere."""
    random = np.random.default_rng(6)
    x1, x2, noise = random.normal(size=(3, NOW))
    late = np.arange(NOW) >= TRAINED
    x1 = x1 + shift * late
    return frame({"x1": x1, "x2": x2, "target": np.where(late, slope, 2.0) * x1 + 0.1 * noise})


def frame(values: Mapping[str, Any]) -> pl.DataFrame:
    times = [START + timedelta(hours=hour) for hour in range(NOW)]
    kind = {"ds": pl.Datetime("us", "UTC")}
    return pl.DataFrame({"unique_id": ["a"] * NOW, "ds": times, **values}, schema_overrides=kind)


def settings_of(task: str, **changes: Any) -> words.Model:
    gate = words.Gate(baselines=BASELINES[task], judge="6d", first="always")  # type: ignore[arg-type]
    return words.Model(task=task, table="t", gate=gate, recipe=RECIPES[task]).model_copy(update=changes)


class Stationary(ForecastTask):
    """The forecast task with a champion that takes no training: past changes in units of the volatility now."""

    def load(self, folder: Path) -> Predictor:
        return lambda windows, items: fit_baselines(windows)["ewma-volatility"](windows, items)


TASKS: Mapping[str, Task[Any, Any, Any]] = {"forecast": Stationary(), "tabular": TabularTask()}


@dataclass(frozen=True)
class World:
    """A champion that has seen the first `TRAINED` hours, less its judging span."""

    task: str
    folder: Path
    champion: tuple[Version, Path]

    def look(self, rows: pl.DataFrame, *, known_at: datetime | None = None, **changes: Any) -> DriftReport:
        lake = Lake(str(self.folder / uuid4().hex))
        lake.open("t", step_s=STEPS[self.task]).write(rows)
        settings = settings_of(self.task, **changes)
        return find_drift(settings, task=TASKS[self.task], tables=lake.table, champion=self.champion, known_at=known_at)

    def usual(self) -> pl.DataFrame:
        return candles() if self.task == "forecast" else numbers()

    def moved(self) -> pl.DataFrame:
        """Rows whose inputs are unlike those before."""
        return candles(wilder=4.0) if self.task == "forecast" else numbers(shift=3.0)


@pytest.fixture(scope="module", params=RECIPES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("drift"), request.param)


def make_world(folder: Path, task: str) -> World:
    """The tabular champion is trained and exported, the other one needs no file."""
    rows = (candles() if task == "forecast" else numbers())[:TRAINED]
    lake = Lake(str(folder / "first"))
    table = lake.open("t", step_s=STEPS[task])
    table.write(rows)
    snapshot = table.snapshot(Filter())
    asked = TASKS[task]
    recipe = RECIPES[task]
    prepared = asked.prepare(table.rows(snapshot), recipe, judged_from=snapshot.last - timedelta(days=6))
    baselines = asked.baselines(prepared)
    metrics = {name: {"loss": asked.losses(one, prepared).mean} for name, one in baselines.items()}
    if task == "tabular":
        fitted = asked.fit(prepared, start=None, budget=Budget(1.0), progress=lambda _advance: None)
        asked.export(fitted, prepared, folder)
    manifest = Manifest(
        "m",
        task,
        "run",
        START,
        "code",
        snapshot,
        recipe.model_dump(mode="json"),
        {},
        metrics,
        trained_until=prepared.trained_until,
    )
    verdict = Verdict(promote=True, reason="first", rule="better", loss_name="loss", items=0, loss=0.0, comparisons=())
    return World(task, folder, (Version("m", 1, manifest, verdict), folder))


def test_where_nothing_has_changed_nothing_is_said(world: World) -> None:
    report = world.look(world.usual())
    assert (report.drifted, report.reasons, report.notes) == (False, (), ())
    assert INPUTS[world.task] in {one.name for one in report.inputs}
    assert report.loss is not None
    assert report.loss.baseline in BASELINES[world.task]
    assert report.seen_until < report.recent_from < report.recent_until


def test_inputs_unlike_training_are_named_with_their_numbers(world: World) -> None:
    report = world.look(world.moved())
    first = next(one for one in report.inputs if one.name == INPUTS[world.task])
    assert first.drifted
    said = f"drift: {first.name} is unlike training (PSI {first.psi:.2f}, threshold {first.threshold:.2f})"
    assert said in report.reasons
    assert report.drifted


def test_the_report_is_plain_json_and_the_same_at_every_look(world: World) -> None:
    first, second = (msgspec.json.encode(world.look(world.usual())) for _ in range(2))
    assert first == second
    assert json.loads(first)["version"] == "m@1"


def test_what_was_not_known_yet_is_not_looked_at(world: World) -> None:
    before = START + timedelta(hours=TRAINED, minutes=30)
    report = world.look(world.moved(), known_at=before)
    assert report.recent_until < before
    assert not report.drifted


def test_a_section_of_the_settings_moves_the_thresholds(world: World) -> None:
    strict = words.Retrain(drift=words.Drift(psi=50.0))
    assert not any(one.drifted for one in world.look(world.moved(), retrain=strict).inputs)


def test_a_champion_that_has_become_worse_than_the_baseline_is_told_with_since_when(tmp_path: Path) -> None:
    report = make_world(tmp_path, "tabular").look(numbers(slope=-2.0))
    assert report.loss is not None
    assert report.loss.since is not None
    assert report.loss.drifted
    assert abs(report.loss.since - (START + timedelta(hours=TRAINED))) < timedelta(hours=6)
    assert report.loss.loss > report.loss.baseline_loss
    assert report.reasons == (
        f"drift: m@1 has been worse than mean since {report.loss.since:%Y-%m-%d %H:%M} "
        f"(loss {report.loss.loss:.5g} beside {report.loss.baseline_loss:.5g})",
    )


def test_a_champion_that_answers_another_question_is_told_and_its_inputs_are_looked_at_all_the_same(
    tmp_path: Path,
) -> None:
    report = make_world(tmp_path, "tabular").look(numbers(shift=3.0), recipe=TabularRecipe(features=("x1",)))
    assert report.loss is None
    assert len(report.notes) == 1
    assert "the losses of m@1 were not looked at" in report.notes[0]
    assert report.drifted
