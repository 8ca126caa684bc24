"""What one run promises, whatever the task: the same suite for forecasts and for a table of numbers."""

from __future__ import annotations

import ast
import json
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
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
from springtide.domain.errors import Conflict, ModelRefused, NotReady, SettingsError
from springtide.pipeline import retraining
from springtide.pipeline.life import Life, Span
from springtide.pipeline.recorder import Silent
from springtide.registry.wire import to_json, verdict_from
from springtide.settings import words
from springtide.tasks.forecast.recipe import ForecastRecipe
from springtide.tasks.forecast.task import ForecastTask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from springtide.domain.run import Run, Step
    from springtide.pipeline.retraining import Outcome
    from springtide.tasks.seam import Advance, Task

START = datetime(2024, 1, 1, tzinfo=UTC)
STEPS = ["snapshot", "prepare", "train", "export", "evaluate", "judge", "explain", "publish"]
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


def test_a_run_keeps_what_its_task_can_tell_of_the_inputs(story: Story) -> None:
    told = result(story.first.run, "explain")["explanation"]
    if story.kind.task == "tabular":
        assert told == {}
        return
    assert told["groups"] == ["prices", "range", "volume", "market", "time of day and week"]
    assert len(told["rise"]) == len(told["groups"])
    assert [one["series"] for one in told["newest"]] == ["a"]


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


def test_a_run_that_is_repeated_from_its_record_gives_the_same_to_the_last_bit(story: Story) -> None:
    found = worker.reproduce(story.home, story.second.run.id, progress=lambda _advance: None, tasks=TASKS)
    assert found.same, found.results
    assert found.conclusion == "the same weights, answers, metrics and verdict"


def test_a_training_that_its_time_stopped_is_repeated_to_the_last_bit(story: Story, again: Path) -> None:
    home = make_home(again, story.kind)
    endless = story.kind.recipe.model_copy(update={"max_steps": 100_000, "patience": 1000})
    settings = home.model("m").model_copy(update={"budget": timedelta(seconds=0.3), "recipe": endless})
    timed = replace(home, settings=home.settings.model_copy(update={"models": {"m": settings}}))
    run = retrain(timed).run
    if story.kind.task == "forecast":
        assert result(run, "train")["stopped_by"] == "time budget"
    found = worker.reproduce(home, run.id, progress=lambda _advance: None, tasks=TASKS)
    assert found.same, found.results


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


def test_evidence_goes_on_from_version_to_version_and_no_time_counts_twice(story: Story) -> None:
    first, second = (outcome.verdict.evidence for outcome in (story.first, story.second))
    assert first is not None
    assert second is not None
    assert (first["champion"], second["champion"]) == (None, "m@1")
    snapshot = story.first.version.manifest.snapshot
    assert first["counted_until"] <= snapshot.last.timestamp() + first["block"]
    new_hours, block_hours = 60, max(3600, first["block"]) // 3600
    assert second["counted_until"] - first["counted_until"] == new_hours * 3600
    assert {one["blocks"] for one in second["rivals"].values()} == {new_hours // block_hours}
    assert set(second["rivals"]) == {one.rival for one in story.second.verdict.comparisons}


def test_a_verdict_from_before_there_was_evidence_can_still_be_read(story: Story) -> None:
    raw = json.loads(to_json(story.second.verdict))
    del raw["evidence"]
    for one in raw["comparisons"]:
        del one["e_value"], one["blocks"]
    old = verdict_from(json.dumps(raw))
    assert (old.reason, old.evidence) == (story.second.verdict.reason, None)
    assert [one.p_value for one in old.comparisons] == [one.p_value for one in story.second.verdict.comparisons]


def test_the_record_of_an_evaluation_tells_of_everyone_when_and_where_and_stays_small(story: Story) -> None:
    details = result(story.home.registry.run(story.second.run.id), "evaluate")["details"]
    everyone = set(story.second.metrics)
    assert len(json.dumps(details)) < 30_000
    assert set(details["loss"]) == {"starts", *everyone}
    assert {len(column) for column in details["loss"].values()} == {len(details["loss"]["starts"])}
    if story.kind.task == "forecast":
        assert set(details["calibration"]) == {"levels", *everyone}
        assert set(details["skill"]) == {"hour", "regime", "doubtful"}
        for columns in details["skill"].values():
            assert set(columns) == {"labels", "items", *everyone} - {"challenger"}
            assert sum(columns["items"]) == story.second.verdict.items
    else:
        assert details["skill"] == {}


def test_versions_are_compared_on_items_that_none_of_them_has_seen(story: Story) -> None:
    found = worker.compare(story.home, "m", last=5, tasks=TASKS)
    seen = [story.home.registry.version("m", number).manifest.trained_until for number in (1, 2)]
    assert all(until is not None and found.first >= until for until in seen)
    kinds = {one.name: one.kind for one in found.contenders}
    assert (kinds.pop("m@1"), kinds.pop("m@2")) == ("champion", "version")
    assert set(kinds.values()) == {"baseline"}
    assert set(story.kind.baselines) <= set(kinds)
    assert [one.loss for one in found.contenders] == sorted(one.loss for one in found.contenders)
    assert max(one.mcs_p_value for one in found.contenders) == 1.0
    assert all(one.in_set == (one.mcs_p_value > 0.1) for one in found.contenders)
    assert [one.name for one in found.contenders if one.difference is None] == ["m@1"]
    assert found.notes == ()
    newest = worker.compare(story.home, "m", last=1, tasks=TASKS)
    assert {one.name for one in newest.contenders} == {"m@1", "m@2", *kinds}, "the champion is always among them"


def test_a_version_of_another_question_is_left_out_of_a_comparison_and_that_is_said(story: Story, again: Path) -> None:
    home = make_home(again, story.kind, recipe=story.kind.other_question)
    found = worker.compare(home, "m", last=5, tasks=TASKS)
    assert {one.kind for one in found.contenders} == {"baseline"}
    assert {note.split()[0] for note in found.notes} == {"m@1", "m@2"}
    assert all(one.difference is None for one in found.contenders)


def test_a_version_that_is_left_out_costs_the_others_no_items(story: Story, again: Path) -> None:
    home = make_home(again, story.kind)
    before = worker.compare(home, "m", last=5, tasks=TASKS)
    retrain(make_home(again, story.kind, recipe=story.kind.other_question, judge="1d"))  # it has seen all but a day
    after = worker.compare(home, "m", last=5, tasks=TASKS)
    assert [note.split()[0] for note in after.notes] == ["m@3"]
    assert (after.items, after.first, after.last) == (before.items, before.first, before.last)
    assert {one.name for one in after.contenders} == {one.name for one in before.contenders}


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


def test_a_costly_baseline_is_worked_out_and_judged_only_where_the_gate_names_it(story: Story, again: Path) -> None:
    costly = TASKS[story.kind.task].costly_baselines[0]
    assert costly not in story.second.metrics
    outcome = retrain(make_home(again, replace(story.kind, baselines=(costly,))))
    assert costly in outcome.metrics
    assert costly in {one.rival for one in outcome.verdict.comparisons}


def test_a_mistyped_costly_baseline_is_refused_with_its_name(story: Story, again: Path) -> None:
    costly = TASKS[story.kind.task].costly_baselines[0]
    with pytest.raises(SettingsError, match=f"did you mean '{costly}'"):
        retrain(make_home(again, replace(story.kind, baselines=(costly[:-1],))))


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


def test_a_gate_for_a_long_life_promotes_when_the_runs_together_show_enough(tmp_path: Path) -> None:
    home = make_home(tmp_path, TABULAR, rule="anytime", first="gate", judge="1d")
    bring(home, TABULAR, numbers(0, 300, slope=0.05))
    outcomes = [retrain(home)]
    for hour in range(300, 1300, 50):
        bring(home, TABULAR, numbers(hour, hour + 50, slope=0.05))
        outcomes.append(retrain(home))
        if outcomes[-1].verdict.promote:
            break
    kept, promoted = outcomes[:-1], outcomes[-1]
    assert len(kept) > 1
    assert {outcome.entry.action for outcome in kept} == {"keep"}
    assert promoted.entry.action == "promote"
    (mean,) = promoted.verdict.comparisons
    assert mean.e_value is not None
    assert mean.e_value >= 20
    assert mean.blocks > promoted.verdict.items
    bring(home, TABULAR, numbers(2000, 2100, slope=0.05))
    assert all(one.e_value < 20 for one in retrain(home).verdict.comparisons if one.e_value is not None)


def test_a_champion_that_serves_again_after_a_rollback_begins_a_new_reign(tmp_path: Path) -> None:
    home = make_home(tmp_path, TABULAR, rule="anytime")
    bring(home, TABULAR, numbers(0, 600, slope=0.0))
    retrain(home)
    bring(home, TABULAR, numbers(600, 1000, slope=1.0))
    second = retrain(home)
    assert (second.entry.action, second.entry.serving) == ("promote", 2)
    assert home.registry.rollback("m", by="somebody", reason="it misbehaved", at=START).serving == 1
    bring(home, TABULAR, numbers(1000, 1002, slope=1.0))
    third = retrain(home)
    assert second.verdict.evidence is not None
    assert third.verdict.evidence is not None
    assert third.verdict.evidence["champion"] == second.verdict.evidence["champion"] == "m@1"
    assert third.verdict.evidence["counted_until"] == second.verdict.evidence["counted_until"] + 2 * 3600
    assert {one.blocks for one in third.verdict.comparisons} == {2}
    assert third.entry.action == "keep"


def test_a_comparison_passes_over_what_retention_has_taken_and_needs_a_version(tmp_path: Path) -> None:
    home = make_home(tmp_path, TABULAR)
    bring(home, TABULAR, numbers(0, 600, slope=0.0))
    with pytest.raises(NotReady, match="no version yet"):
        worker.compare(home, "m", last=5, tasks=TASKS)
    for _ in range(4):
        retrain(home)
    home.registry.retain("m", 2)
    found = worker.compare(home, "m", last=3, tasks=TASKS)
    assert {one.name for one in found.contenders if one.kind != "baseline"} == {"m@1", "m@3", "m@4"}
    (note,) = found.notes
    assert note.startswith("m@2 was left out: ")
    assert "retention" in note


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


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.task)
def test_a_version_that_would_be_born_expired_is_refused_before_the_training(kind: Kind, tmp_path: Path) -> None:
    home = make_home(tmp_path, kind)
    bring(home, kind, kind.rows(0, 900))
    settings = home.model("m").model_copy(update={"expires": words.Expires(model=timedelta(days=6, hours=1))})  # type: ignore[arg-type]
    newest = START + timedelta(hours=900)

    def attempt(now: datetime) -> Outcome:
        made = replace(order(home), run=f"run-{now:%d%H}", settings=settings)
        return retraining.retrain(
            made,
            task=TASKS[kind.task],
            tables=home.lake.table,
            registry=home.registry,
            collect=None,
            reporter=Silent(),
            now=lambda: now,
        )

    with pytest.raises(SettingsError, match="would have expired") as refused:
        attempt(newest)
    assert "models.m.expires.model" in refused.value.where
    assert "train" not in {step.name for step in home.registry.runs("m", 1)[0].steps}
    assert attempt(newest - timedelta(hours=12)).entry.action == "promote"


def test_new_rows_are_collected_before_the_snapshot_and_the_record_says_which(tmp_path: Path) -> None:
    home = make_home(tmp_path, TABULAR)

    def collect() -> Mapping[str, Any]:
        bring(home, TABULAR, numbers(0, 600, slope=2.0))
        return {"somewhere": {"new": 600}}

    outcome = retraining.retrain(
        order(home),
        task=TASKS["tabular"],
        tables=home.lake.table,
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


# A life replayed: the runs that production would have made, in a registry that nobody sees.


@pytest.fixture(scope="module")
def replay(story: Story, tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Life]:
    """The two runs of the story again, as a replay whose champion is published beside the story's two versions."""
    folder = Path(shutil.copytree(story.folder, tmp_path_factory.mktemp("replay") / "home"))
    home = make_home(folder, story.kind)
    bring(home, story.kind, story.kind.rows(960, 1000))
    return home, live(home, since=START + timedelta(hours=900), every=timedelta(hours=60), publish=True)


def test_a_replay_comes_to_the_verdicts_of_production(story: Story, replay: tuple[Home, Life]) -> None:
    _, life = replay
    assert [span.verdict for span in life.spans] == [story.first.verdict, story.second.verdict]
    assert [span.promoted for span in life.spans] == [True, False]
    assert [span.serving for span in life.spans] == [1, 1]


def test_a_published_version_of_a_replay_is_traced_to_rows_run_and_code(
    story: Story, replay: tuple[Home, Life]
) -> None:
    home, life = replay
    assert life.published == {"m@1": "m@3"}
    version = home.registry.version("m", 3)
    snapshot = version.manifest.snapshot
    assert (snapshot.rows, snapshot.sha256) == (900, story.first.version.manifest.snapshot.sha256)
    home.lake.table("t").verify(snapshot)
    assert "-replay-" in version.manifest.run
    run = home.registry.run(version.manifest.run)
    assert (run.state, run.version, run.reasons) == ("succeeded", 3, ("replay as of 2024-02-07 12:00 UTC",))
    assert "publish" not in {step.name for step in run.steps}, "that step was the replay's own"
    assert version.manifest.code == story.first.version.manifest.code
    assert version.manifest.files.keys() == story.first.version.manifest.files.keys()
    beside = json.loads(home.registry.read(version, "manifest.json"))
    assert beside["run"] == run.id
    assert set(beside["files"]) == version.manifest.files.keys() - {"manifest.json"}


def test_a_published_version_of_a_replay_serves_only_once_it_is_promoted(replay: tuple[Home, Life]) -> None:
    home, _ = replay
    assert home.registry.champions() == {"m": 1}
    assert [line.version for line in home.registry.journal("m")] == [2, 1]
    answers = Answers(home, clock=lambda: START)
    answers.shelf.look()
    entry = answers.promote("m", 3, by="somebody")
    assert (entry.previous, entry.serving, entry.by) == (1, 3, "somebody")
    answer = answers.forecast("m")
    assert answer["version"] == 3
    assert np.isfinite(answer["columns"]["m"]).all()


def test_a_replay_that_is_not_published_changes_nothing_of_the_home(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", TABULAR)
    bring(home, TABULAR, numbers(0, 600, slope=2.0))
    retrain(home)
    before = contents(tmp_path / "home")
    life = live(home, since=START + timedelta(hours=400), every=timedelta(hours=100))
    assert [span.serving for span in life.spans] == [1, 1]
    assert life.published == {}
    assert contents(tmp_path / "home") == before


def test_a_replay_that_is_stopped_by_hand_publishes_nothing(tmp_path: Path) -> None:
    home = make_home(tmp_path, TABULAR)
    bring(home, TABULAR, numbers(0, 600, slope=2.0))
    before = contents(tmp_path)
    listened = worker.live_through(
        home,
        "m",
        every=timedelta(hours=100),
        since=START + timedelta(hours=400),
        publish=True,
        tasks=TASKS,
    )
    assert next(listened) == 2
    assert isinstance(next(listened), Span)
    with pytest.raises(KeyboardInterrupt):
        listened.throw(KeyboardInterrupt)  # type: ignore[attr-defined] # a generator
    assert contents(tmp_path) == before


def test_versions_of_a_replay_speak_of_each_other_by_the_names_they_are_published_under(tmp_path: Path) -> None:
    home = make_home(tmp_path, TABULAR)
    bring(home, TABULAR, numbers(0, 400, slope=0.0))
    retrain(home)
    bring(home, TABULAR, numbers(400, 1200, slope=2.0))
    life = live(home, since=START + timedelta(hours=400), every=timedelta(hours=400), publish=True)
    assert [span.promoted for span in life.spans] == [True, True]
    assert life.published == {"m@1": "m@2", "m@2": "m@3"}
    second = home.registry.version("m", 3)
    assert second.verdict.comparisons[0].rival == "m@2"
    assert "lower than m@2's" in second.verdict.reason
    assert "m@1" not in second.verdict.reason
    assert set(second.manifest.metrics) == {"challenger", "m@2", "mean"}
    assert result(home.registry.run(second.manifest.run), "train")["start"] == "m@2"
    Answers(home, clock=lambda: START).promote("m", 3, by="somebody")
    bring(home, TABULAR, numbers(1200, 1400, slope=2.0))
    prepared = result(retrain(home).run, "prepare")
    assert second.manifest.trained_until is not None
    assert datetime.fromisoformat(prepared["judged_from"]) >= second.manifest.trained_until


def test_a_published_replay_leaves_the_evidence_of_the_gate_as_it_was(tmp_path: Path) -> None:
    verdicts = []
    for name, replayed in (("plain", False), ("replayed", True)):
        home = make_home(tmp_path / name, TABULAR, rule="anytime")
        bring(home, TABULAR, numbers(0, 400, slope=0.0))
        retrain(home)
        bring(home, TABULAR, numbers(400, 800, slope=2.0))
        if replayed:
            live(home, since=START + timedelta(hours=500), every=timedelta(hours=200), publish=True)
        verdicts.append(retrain(home).verdict)
    assert verdicts[0].evidence == verdicts[1].evidence
    assert verdicts[0] == verdicts[1]


def live(home: Home, **plan: Any) -> Life:
    *_, life = worker.live_through(home, "m", tasks=TASKS, **plan)
    assert isinstance(life, Life)
    return life


def contents(folder: Path) -> dict[str, str]:
    """Every file with its digest; what SQLite has beside its file while somebody reads is none of the contents."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(("-wal", "-shm"))]
    return {path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files}


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
