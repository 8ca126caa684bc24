"""What one run promises, whatever the task: the same suite for forecasts and for a table of numbers."""

from __future__ import annotations

import ast
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from tests.contract.tabular_task import TabularCodec, TabularRecipe, TabularTask

import springtide
from springtide.app import worker
from springtide.app.answers import Answers
from springtide.app.home import Home, open_home
from springtide.domain.errors import Conflict, ModelRefused, SettingsError
from springtide.pipeline import retraining
from springtide.pipeline.recorder import Silent
from springtide.settings import words
from springtide.tasks.forecast.recipe import ForecastRecipe
from springtide.tasks.forecast.task import ForecastTask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from springtide.domain.run import Run, Step
    from springtide.pipeline.retraining import Outcome
    from springtide.tasks.seam import Advance, Task

START = datetime(2024, 1, 1, tzinfo=UTC)
STEPS = ["snapshot", "prepare", "train", "export", "evaluate", "judge", "publish"]
MOMENT = pl.Datetime("us", "UTC")
TASKS: Mapping[str, Task[Any, Any, Any]] = {"forecast": ForecastTask(), "tabular": TabularTask()}


@dataclass(frozen=True)
class Kind:
    """One task with what the suite needs to know of it."""

    task: str
    recipe: Any
    other_question: Any
    baselines: tuple[str, ...]
    step_s: int | None

    def rows(self, first: int, last: int) -> pl.DataFrame:
        """Hours `first` to `last` of rows in which nothing can be learned."""
        return candles(first, last) if self.task == "forecast" else numbers(first, last, slope=0.0)


KINDS = (
    Kind(
        "forecast",
        ForecastRecipe(window=24, horizon=4, max_steps=20, validation="4d"),  # type: ignore[arg-type] # a span is text
        ForecastRecipe(window=24, horizon=3, max_steps=20, validation="4d"),  # type: ignore[arg-type]
        ("last-value",),
        3600,
    ),
    Kind("tabular", TabularRecipe(), TabularRecipe(features=("x2",)), ("mean",), None),
)


def candles(first: int, last: int) -> pl.DataFrame:
    """A seeded random walk: no forecast of it is better than its volatility."""
    random = np.random.default_rng(5)
    close = 100 * np.exp(np.cumsum(random.normal(0, 0.005, last)))
    opened = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(opened, close) * 1.001, np.minimum(opened, close) * 0.999
    values = {"open": opened, "high": high, "low": low, "close": close, "volume": np.full(last, 10.0)}
    return frame(first, last, {name: column[first:] for name, column in values.items()})


def numbers(first: int, last: int, *, slope: float) -> pl.DataFrame:
    """``target = slope * x1 + noise``."""
    random = np.random.default_rng(6)
    x1, x2, noise = random.normal(size=(3, last))
    values = {"x1": x1, "x2": x2, "target": slope * x1 + 0.1 * noise}
    return frame(first, last, {name: column[first:] for name, column in values.items()})


def frame(first: int, last: int, values: Mapping[str, Any]) -> pl.DataFrame:
    times = [START + timedelta(hours=hour) for hour in range(first, last)]
    return pl.DataFrame({"unique_id": ["a"] * len(times), "ds": times, **values}, schema_overrides={"ds": MOMENT})


def make_home(folder: Path, kind: Kind, *, recipe: Any = None, **gate: Any) -> Home:
    """A home in `folder` with one model ``m`` on the table ``t``."""
    judged = words.Gate(baselines=kind.baselines, **({"judge": "6d", "first": "always"} | gate))
    model = words.Model(task=kind.task, table="t", budget="20s", gate=judged, recipe=recipe or kind.recipe)  # type: ignore[arg-type]
    places = words.Home(store=str(folder / "var"), database=f"sqlite:///{folder}/var/springtide.db")
    home = open_home(words.Settings(home=places, models={"m": model}))
    return replace(home, codecs={**home.codecs, "tabular": TabularCodec()})


def bring(home: Home, kind: Kind, rows: pl.DataFrame) -> None:
    home.lake.open("t", step_s=kind.step_s).write(rows)


def retrain(home: Home) -> Outcome:
    return worker.retrain(home, "m", tasks=TASKS)


@dataclass(frozen=True)
class Story:
    """Two runs with new rows between them."""

    kind: Kind
    folder: Path
    home: Home
    first: Outcome
    second: Outcome


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.task)
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Story:
    kind, folder = request.param, tmp_path_factory.mktemp("story")
    home = make_home(folder, kind)
    bring(home, kind, kind.rows(0, 900))
    first = retrain(home)
    bring(home, kind, kind.rows(900, 960))
    return Story(kind, folder, home, first, retrain(home))


@pytest.fixture
def again(story: Story, tmp_path: Path) -> Path:
    """A copy of the story's folder that a test may go on with."""
    return Path(shutil.copytree(story.folder, tmp_path / "home"))


def test_a_run_ends_with_a_version_a_verdict_and_a_journal_line_that_name_each_other(story: Story) -> None:
    for outcome, number in ((story.first, 1), (story.second, 2)):
        run = story.home.registry.run(outcome.run.id)
        assert (run.state, run.version, run.failure) == ("succeeded", number, None)
        version = story.home.registry.version("m", number)
        assert version.manifest.run == run.id
        assert version.verdict == outcome.verdict
        (entry,) = (line for line in story.home.registry.journal("m") if line.run == run.id)
        assert entry == outcome.entry
        assert entry.version == number
        assert entry.reason == outcome.verdict.reason


def test_the_record_of_a_run_has_every_step_in_order_with_its_seconds(story: Story) -> None:
    run = story.home.registry.run(story.first.run.id)
    assert [step.name for step in run.steps] == STEPS
    assert all(step.seconds is not None and step.seconds >= 0 for step in run.steps)
    assert run.finished is not None
    starts = [step.started for step in run.steps]
    assert [run.started, *starts, run.finished] == sorted([run.started, *starts, run.finished])
    assert result(run, "snapshot")["rows"] == 900
    assert result(run, "publish") == {"version": 1, "action": "promote", "serving": 1}


def test_a_version_is_promoted_only_if_it_beat_the_champion_and_every_baseline_of_the_gate(story: Story) -> None:
    verdict, entry = story.second.verdict, story.second.entry
    bars = [one for one in verdict.comparisons if one.kind == "champion" or one.rival in story.kind.baselines]
    assert {one.rival for one in bars} == {"m@1", *story.kind.baselines}
    assert verdict.promote == all(one.passed for one in bars)
    assert entry.action == ("promote" if verdict.promote else "keep")
    assert not verdict.promote, "these rows hold nothing to learn"
    assert story.home.registry.champions() == {"m": 1}


def test_the_first_version_serves_without_proof_only_with_a_warning(story: Story) -> None:
    assert story.first.entry.action == "promote"
    assert not any(one.passed for one in story.first.verdict.comparisons if one.rival in story.kind.baselines)
    assert story.first.entry.warning is not None
    assert "serves without proof" in story.first.entry.warning
    answers = Answers(story.home, clock=lambda: START)
    answers.shelf.look()
    answer = answers.forecast("m")
    assert answer["version"] == 1
    assert "serves without proof" in answer["warning"]
    assert np.isfinite(answer["columns"]["m"]).all()


def test_the_next_run_starts_from_the_champion(story: Story) -> None:
    assert result(story.first.run, "train")["start"] == "scratch"
    assert result(story.second.run, "train")["start"] == "m@1"
    if story.kind.task == "tabular":
        assert result(story.second.run, "train")["pulled_to"] is not None


def test_challenger_and_champion_are_judged_on_items_that_neither_has_seen(story: Story) -> None:
    seen = story.first.version.manifest.trained_until
    assert seen is not None
    prepared = result(story.second.run, "prepare")
    assert datetime.fromisoformat(prepared["judged_from"]) >= seen
    assert datetime.fromisoformat(prepared["judged_from"]) >= datetime.fromisoformat(prepared["trained_until"])
    assert story.home.registry.version("m", 1).manifest.trained_until == seen


def test_a_run_can_be_traced_to_its_rows_and_they_are_still_the_same(story: Story) -> None:
    for outcome, rows in ((story.first, 900), (story.second, 960)):
        snapshot = story.home.registry.version("m", outcome.version.number).manifest.snapshot
        assert snapshot.rows == rows
        story.home.lake.table("t").verify(snapshot)
        assert story.home.lake.table("t").rows(snapshot).collect().height == rows


def test_a_champion_that_answers_another_question_is_not_compared_and_that_is_said(story: Story, again: Path) -> None:
    outcome = retrain(make_home(again, story.kind, recipe=story.kind.other_question, first="gate"))
    assert "champion" not in {one.kind for one in outcome.verdict.comparisons}
    assert outcome.verdict.warning is not None
    assert "m@1 was not compared" in outcome.verdict.warning
    assert outcome.entry.warning == outcome.verdict.warning
    assert outcome.entry.action == "keep"  # and it is no first version, so it serves only if it beats the baselines


def test_a_damaged_file_of_the_champion_stops_the_run_before_anything_is_trained(story: Story, again: Path) -> None:
    home = make_home(again, story.kind)
    digest = home.registry.version("m", 1).manifest.files["model.onnx"]
    (blob,) = again.rglob(digest)
    damage(blob)
    with pytest.raises(ModelRefused, match="damaged"):
        retrain(home)
    run = home.registry.runs("m", 1)[0]
    assert run.state == "failed"
    assert run.failure is not None
    assert "damaged" in run.failure.what
    assert "train" not in {step.name for step in run.steps}
    assert len(home.registry.versions("m")) == 2
    assert home.registry.champions() == {"m": 1}


def test_an_unknown_baseline_is_refused_with_the_known_ones_before_anything_is_trained(
    story: Story, again: Path
) -> None:
    mistyped = story.kind.baselines[0][:-1]
    home = make_home(again, replace(story.kind, baselines=(mistyped,)))
    with pytest.raises(SettingsError, match=f"did you mean '{story.kind.baselines[0]}'") as refused:
        retrain(home)
    assert refused.value.where == "models.m.gate.baselines"
    run = home.registry.runs("m", 1)[0]
    assert run.state == "failed"
    assert "train" not in {step.name for step in run.steps}


def test_a_run_as_of_the_past_sees_no_later_row(story: Story, tmp_path: Path) -> None:
    home, until = make_home(tmp_path, replace(story.kind, baselines=("no",))), START + timedelta(hours=700)
    bring(home, story.kind, story.kind.rows(0, 900))
    with pytest.raises(SettingsError):  # its gate stops it after the snapshot: nothing needs to be trained here
        worker.retrain(home, "m", tasks=TASKS, until=until)
    snapshot = result(home.registry.runs("m", 1)[0], "snapshot")
    assert snapshot["rows"] == 700
    assert datetime.fromisoformat(snapshot["last"]) < until


# What the gate does with better and worse models is the same for every task: shown with the one that takes milliseconds.

TABULAR = KINDS[1]


def test_a_first_version_that_proves_itself_serves_without_a_warning(tmp_path: Path) -> None:
    home = make_home(tmp_path, TABULAR, first="gate")
    bring(home, TABULAR, numbers(0, 600, slope=2.0))
    outcome = retrain(home)
    assert (outcome.entry.action, outcome.entry.warning) == ("promote", None)


def test_a_first_version_without_proof_does_not_serve_when_the_gate_asks_for_one(tmp_path: Path) -> None:
    home = make_home(tmp_path, TABULAR, first="gate")
    bring(home, TABULAR, numbers(0, 600, slope=0.0))
    assert retrain(home).entry.action == "keep"
    assert home.registry.champions() == {}


def test_a_model_that_learned_the_new_rows_replaces_the_champion_of_the_old_ones(tmp_path: Path) -> None:
    home = make_home(tmp_path, TABULAR)
    bring(home, TABULAR, numbers(0, 600, slope=0.0))
    retrain(home)
    bring(home, TABULAR, numbers(600, 2000, slope=2.0))
    outcome = retrain(home)
    assert outcome.entry.action == "promote"
    assert (outcome.entry.previous, outcome.entry.serving) == (1, 2)
    assert home.registry.champions() == {"m": 2}


def test_a_champion_promoted_while_a_run_went_on_is_not_overwritten(tmp_path: Path) -> None:
    home = make_home(tmp_path, TABULAR)
    bring(home, TABULAR, numbers(0, 600, slope=0.0))
    retrain(home)
    retrain(home)
    bring(home, TABULAR, numbers(600, 2000, slope=2.0))

    class SomebodyElse(Silent):
        def step_finished(self, step: Step) -> None:
            if step.name == "judge":
                home.registry.promote("m", 2, run=None, by="somebody", reason="by hand", at=datetime.now(UTC))

    with pytest.raises(Conflict):
        worker.retrain(home, "m", tasks=TASKS, reporter=SomebodyElse())
    assert home.registry.champions() == {"m": 2}
    assert home.registry.runs("m", 1)[0].state == "failed"


def test_new_rows_are_collected_before_the_snapshot_and_the_record_says_which(tmp_path: Path) -> None:
    home = make_home(tmp_path, TABULAR)

    def collect() -> Mapping[str, Any]:
        bring(home, TABULAR, numbers(0, 600, slope=2.0))
        return {"somewhere": {"new": 600}}

    outcome = retraining.retrain(
        order(home),
        task=TASKS["tabular"],
        table=lambda: home.lake.table("t"),
        registry=home.registry,
        collect=collect,
        reporter=Silent(),
    )
    assert [step.name for step in outcome.run.steps] == ["collect", *STEPS]
    assert result(outcome.run, "collect") == {"somewhere": {"new": 600}}
    assert result(outcome.run, "snapshot")["rows"] == 600


def test_a_stop_by_hand_ends_the_run_as_cancelled_and_publishes_nothing(tmp_path: Path) -> None:
    home = make_home(tmp_path, TABULAR)
    bring(home, TABULAR, numbers(0, 600, slope=2.0))

    class Hand(Silent):
        def step_advanced(self, advance: Advance) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker.retrain(home, "m", tasks=TASKS, reporter=Hand())
    run = home.registry.runs("m", 1)[0]
    assert (run.state, run.version) == ("cancelled", None)
    assert run.failure is not None
    assert run.failure.where == "step train"
    assert home.registry.versions("m") == []


def test_an_error_of_our_own_making_is_recorded_and_not_hidden(tmp_path: Path) -> None:
    home = make_home(tmp_path, TABULAR)
    bring(home, TABULAR, numbers(0, 600, slope=2.0))

    class Broken(Silent):
        def step_started(self, name: str) -> None:
            if name == "evaluate":
                raise ZeroDivisionError("of all things")

    with pytest.raises(ZeroDivisionError):
        worker.retrain(home, "m", tasks=TASKS, reporter=Broken())
    run = home.registry.runs("m", 1)[0]
    assert run.state == "failed"
    assert run.failure is not None
    assert run.failure.what == "ZeroDivisionError: of all things"
    assert run.failure.where == "step evaluate"


def test_nobody_above_the_seam_but_the_composition_roots_knows_a_task() -> None:
    root = Path(springtide.__file__).parent
    knowing = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if path.relative_to(root).parts[0] != "tasks"
        if any(name.startswith("springtide.tasks.forecast") for name in imported(path))
    }
    assert knowing == {"app/home.py", "app/worker.py"}


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return found


def order(home: Home) -> retraining.Order:
    return retraining.Order("run-1", "m", home.model("m"), ("by hand",), "test")


def result(run: Run, name: str) -> Mapping[str, Any]:
    return next(step.result for step in run.steps if step.name == name)


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.chmod(0o644)
    path.write_bytes(data)
