"""The search: what it sees, what it tries, and when it takes something else than what is declared."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from tests.contract.tabular_task import TabularRecipe, TabularTask

from springtide.domain.errors import Leak, SettingsError, TooFewRows
from springtide.evaluation.losses import Losses
from springtide.lake.tables import Lake
from springtide.pipeline.search import FOLDS, Found, Impossible, Plan, Trial, TrialJob, judge_trial, search
from springtide.settings.words import Gate, Model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from springtide.lake.table import Table

START = datetime(2024, 1, 1, tzinfo=UTC)
HOURS, JUDGED = 400, 100
UNTIL = START + timedelta(hours=HOURS - 1 - JUDGED)
TASK = TabularTask()
GATE = Gate(baselines=("mean",), judge=timedelta(hours=JUDGED))
SETTINGS = Model(task="tabular", table="t", gate=GATE, recipe=TabularRecipe())


def rows(slope: float) -> pl.DataFrame:
    """``target = slope * x1`` and a little noise, hour by hour."""
    random = np.random.default_rng(1)
    x1, x2, noise = random.normal(size=(3, HOURS))
    times = [START + timedelta(hours=hour) for hour in range(HOURS)]
    values = {"x1": x1, "x2": x2, "target": slope * x1 + 0.1 * noise}
    return pl.DataFrame({"unique_id": ["a"] * HOURS, "ds": times, **values}).cast({"ds": pl.Datetime("us", "UTC")})


@pytest.fixture
def table(tmp_path: Path) -> Table:
    found = Lake(str(tmp_path)).open("t")
    found.write(rows(2.0))
    return found


def look(
    table: Table, *, trials: int = 8, ridge: float = 0.0, judge: Any = None, width: int = 1, **how: Any
) -> tuple[list[Trial], Found]:
    clock = how.pop("clock", lambda: 0.0)
    settings = SETTINGS.model_copy(update={"recipe": TabularRecipe(ridge=ridge), "seed": how.pop("seed", 0)})

    def work(jobs: Sequence[TrialJob]) -> Iterator[Losses | Impossible]:
        return (judge_trial(job, tables=lambda _name: table) for job in jobs)

    plan = Plan("m", settings, trials, **how)
    *told, found = search(plan, task=TASK, tables=lambda _name: table, judge=judge or work, width=width, clock=clock)
    assert isinstance(found, Found)
    return [one for one in told if isinstance(one, Trial)], found


def losses_of(job: TrialJob, values: Any) -> Losses:
    """100 losses of a fold, as some task may give them."""
    times = job.fold.start + 900 * np.arange(100)
    return Losses("loss", np.asarray(values, dtype=np.float64), times, np.full(100, "a"))


@dataclass
class Judge:
    """A judge without a task: the loss is what `loss` says of the recipe's ridge."""

    loss: Callable[[float], Any] = lambda ridge: np.full(100, 1.0 + ridge)
    asked: list[list[TrialJob]] = field(default_factory=list)

    def __call__(self, jobs: Sequence[TrialJob]) -> Iterator[Losses | Impossible]:
        self.asked.append(list(jobs))
        return (losses_of(job, self.loss(job.settings.recipe.ridge)) for job in jobs)


def test_a_recipe_that_is_better_beyond_chance_is_taken(table: Table) -> None:
    trials, found = look(table, ridge=80.0)
    assert found.gain > 0.5
    assert found.p_value <= GATE.alpha
    assert found.changes == trials[found.best].changes
    assert found.changes["ridge"] < 40.0
    assert "taken" in found.reason


def test_the_first_trial_is_the_recipe_as_declared_and_all_others_are_compared_with_it(table: Table) -> None:
    trials, found = look(table, ridge=80.0)
    first, *others = trials
    assert (first.number, first.changes, first.state, first.folds, first.gain) == (0, {}, "judged", FOLDS, None)
    assert [trial.number for trial in others] == list(range(1, 8))
    assert all((trial.gain is not None) == (trial.state == "judged") for trial in others)
    assert found.trials == tuple(trials)


def test_the_declared_recipe_stays_where_nothing_is_better(table: Table) -> None:
    _, found = look(table, ridge=0.0)
    assert (found.best, found.changes) == (0, {})
    assert "the declared recipe stays" in found.reason


def test_the_best_of_many_is_not_taken_for_what_one_alone_could_be_taken_for(table: Table) -> None:
    def judge(jobs: Sequence[TrialJob]) -> Iterator[Losses]:
        for job in jobs:
            gain = np.random.default_rng(job.fold.start).normal(0.011, 0.3, 100) if job.number == 3 else 0.0
            yield losses_of(job, np.ones(100) - gain)

    trials, found = look(table, trials=8, judge=judge)
    alone = trials[3].p_value
    assert alone is not None
    assert alone <= GATE.alpha < found.p_value
    assert found.p_value == pytest.approx(7 * alone)
    assert (found.best, found.changes) == (0, {})
    assert "may be chance" in found.reason


def test_no_row_of_the_judging_span_changes_a_trial(table: Table) -> None:
    before, _ = look(table, ridge=80.0)
    late = rows(-5.0).filter(pl.col("ds") >= UNTIL)
    assert len(late) == JUDGED + 1
    table.write(late)
    after, _ = look(table, ridge=80.0)
    assert after == before


def test_folds_end_where_the_judging_span_begins(table: Table) -> None:
    _, found = look(table, trials=2)
    assert found.seen_until == UNTIL
    assert found.folds[0][0] == UNTIL - timedelta(hours=JUDGED)
    assert len(found.folds) == FOLDS


def test_a_trial_that_would_see_the_judging_span_is_refused(table: Table) -> None:
    judge = Judge()
    look(table, trials=2, judge=judge)
    (job,) = judge.asked[FOLDS - 1]
    judge_trial(job, tables=lambda _name: table)
    with pytest.raises(Leak, match="what is judged begins at"):
        judge_trial(replace(job, until=job.until - timedelta(hours=2)), tables=lambda _name: table)


def test_a_trial_that_is_worse_than_the_median_is_given_up_between_folds(table: Table) -> None:
    trials, _ = look(table, trials=20, judge=Judge())
    assert {trial.state for trial in trials} == {"judged", "pruned"}
    assert all(trial.folds < FOLDS for trial in trials if trial.state == "pruned")
    assert min(trial.loss for trial in trials if trial.state == "pruned" and trial.loss) > 1.0


def test_when_the_time_is_over_nothing_more_is_tried_but_the_declared_recipe_was_judged(table: Table) -> None:
    judge = Judge()
    ticks = iter(range(10_000))
    trials, found = look(table, trials=500, judge=judge, seconds=60.0, clock=lambda: float(next(ticks)))
    assert trials[0].state == "judged"
    assert trials[-1].state in {"judged", "out of time", "pruned"}
    assert 1 < len(trials) < 60
    assert found.seconds < 70
    assert all(job.seconds <= 60 for jobs in judge.asked for job in jobs if job.number > 0)


def test_a_budget_too_small_for_a_second_trial_leaves_the_declared_recipe(table: Table) -> None:
    ticks = iter(range(10_000))
    trials, found = look(table, judge=Judge(), seconds=2.0, clock=lambda: float(next(ticks)))
    assert [trial.folds for trial in trials] == [FOLDS]
    assert "no other one was judged" in found.reason


def test_a_recipe_that_cannot_be_trained_is_passed_over(table: Table) -> None:
    def judge(jobs: Sequence[TrialJob]) -> Iterator[Losses | Impossible]:
        return (losses_of(job, np.ones(100)) if job.number == 0 else Impossible("too few rows") for job in jobs)

    trials, found = look(table, trials=3, judge=judge)
    assert [(trial.state, trial.note) for trial in trials[1:]] == [("impossible", "too few rows")] * 2
    assert found.changes == {}


def test_a_declared_recipe_that_cannot_be_trained_is_an_error(table: Table) -> None:
    judge = Judge()
    look(table, trials=2, judge=judge)
    (declared,), (other,) = judge.asked[0], judge.asked[FOLDS]
    early = replace(declared.fold, start=int(START.timestamp()) - 1)
    assert isinstance(judge_trial(replace(other, fold=early), tables=lambda _name: table), Impossible)
    with pytest.raises(TooFewRows):
        judge_trial(replace(declared, fold=early), tables=lambda _name: table)


def test_recipes_are_tried_as_many_at_a_time_as_there_is_room_for(table: Table) -> None:
    judge = Judge(lambda _ridge: np.ones(100))
    trials, _ = look(table, trials=6, judge=judge, width=2)
    assert [len(jobs) for jobs in judge.asked] == [1] * FOLDS + [2] * FOLDS * 2 + [1] * FOLDS
    assert len({trial.changes.get("ridge") for trial in trials}) == 6


def test_the_same_seed_tries_the_same_recipes_and_another_seed_others(table: Table) -> None:
    one, again, other = (look(table, trials=4, seed=seed, judge=Judge())[0] for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_what_an_earlier_search_has_found_is_tried_first(table: Table) -> None:
    trials, _ = look(table, trials=2, judge=Judge(), known={"ridge": 7.5, "gone": 1})
    assert trials[1].changes == {"ridge": 7.5}


def test_a_key_that_cannot_be_fixed_and_a_search_for_nothing_are_refused(table: Table) -> None:
    with pytest.raises(SettingsError, match="ridge"):
        look(table, fixed=("rigde",))
    with pytest.raises(SettingsError, match="nothing to search for"):
        look(table, fixed=("ridge",))


def test_recipes_that_were_asked_for_other_items_are_compared_on_those_that_both_have(table: Table) -> None:
    def judge(jobs: Sequence[TrialJob]) -> Iterator[Losses]:
        for job in jobs:
            whole = losses_of(
                job, np.r_[np.full(20, 50.0), np.random.default_rng([job.number, job.fold.start]).normal(1.0, 0.1, 80)]
            )
            some = np.arange(100) >= (20 if job.number else 0)
            yield replace(whole, values=whole.values[some], times=whole.times[some], groups=whole.groups[some])

    trials, found = look(table, trials=3, judge=judge)
    assert all(abs(trial.gain) < 0.05 for trial in trials[1:] if trial.gain is not None), "not for the easy items"
    assert found.changes == {}
