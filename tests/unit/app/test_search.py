"""A search from springtide.toml to the run that uses what it has found."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from tests.contract.tabular_task import TabularRecipe, TabularTask

from springtide.app import worker
from springtide.app.home import Home, open_home
from springtide.cli.retrain import command, print_search
from springtide.domain.errors import Leak, SettingsError
from springtide.pipeline.search import Found
from springtide.settings import words

if TYPE_CHECKING:
    from pathlib import Path

    from springtide.pipeline.retraining import Outcome

START = datetime(2024, 1, 1, tzinfo=UTC)
HOURS = 400
TASKS: Any = {"tabular": TabularTask()}


def make_home(folder: Path, *, ridge: float = 80.0) -> Home:
    """Rows of a line, and a model whose declared recipe pulls it to zero."""
    gate = words.Gate(baselines=("mean",), judge=timedelta(hours=100), first="always")
    model = words.Model(task="tabular", table="t", gate=gate, recipe=TabularRecipe(ridge=ridge))
    places = words.Home(store=str(folder / "var"), database=f"sqlite:///{folder}/var/springtide.db")
    return open_home(words.Settings(home=places, models={"m": model}))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    found = make_home(tmp_path)
    random = np.random.default_rng(1)
    x1, x2, noise = random.normal(size=(3, HOURS))
    times = [START + timedelta(hours=hour) for hour in range(HOURS)]
    values = {"x1": x1, "x2": x2, "target": 2 * x1 + 0.1 * noise}
    rows = pl.DataFrame({"unique_id": ["a"] * HOURS, "ds": times, **values}).cast({"ds": pl.Datetime("us", "UTC")})
    found.lake.open("t").write(rows)
    return found


def look(home: Home, **how: Any) -> Found:
    *_, found = worker.search(home, "m", tasks=TASKS, **{"trials": 6, **how})
    assert isinstance(found, Found)
    return found


def prepared(home: Home, **how: Any) -> tuple[Outcome, dict[str, Any]]:
    outcome = worker.retrain(home, "m", tasks=TASKS, **how)
    return outcome, dict(next(step.result for step in outcome.run.steps if step.name == "prepare"))


def test_later_runs_use_what_was_found_and_their_records_say_so(home: Home) -> None:
    found = look(home)
    for _ in range(2):
        outcome, facts = prepared(home)
        assert outcome.version.manifest.recipe["ridge"] == found.changes["ridge"] != 80.0
        assert (facts["recipe"], facts["searched_until"]) == ("found", found.seen_until.isoformat())
        assert f"ridge {found.changes['ridge']}" in facts["recipe_reason"]
        late = home.lake.table("t").scan().collect().with_columns(pl.col("ds") + pl.duration(hours=HOURS))
        home.lake.table("t").write(late)


def test_another_declared_recipe_ends_the_use_of_what_was_found(home: Home, tmp_path: Path) -> None:
    look(home)
    outcome, facts = prepared(make_home(tmp_path, ridge=3.0))
    assert outcome.version.manifest.recipe["ridge"] == 3.0
    assert facts["recipe"] == "declared"
    assert "springtide.toml has changed" in facts["recipe_reason"]


def test_a_search_that_finds_nothing_better_ends_the_use_of_what_an_earlier_one_had(home: Home) -> None:
    look(home)
    look(home, trials=1)
    outcome, facts = prepared(home)
    assert outcome.version.manifest.recipe["ridge"] == 80.0
    assert "found nothing better" in facts["recipe_reason"]


def test_a_second_search_begins_with_the_declared_recipe_and_what_the_first_has_found(home: Home) -> None:
    first = look(home)
    second = look(home, trials=2)
    assert [trial.changes for trial in second.trials] == [{}, first.changes]


def test_a_run_as_of_a_past_time_takes_the_declared_recipe(home: Home) -> None:
    look(home)
    outcome, facts = prepared(home, until=START + timedelta(hours=350))
    assert outcome.version.manifest.recipe["ridge"] == 80.0
    assert facts["recipe"] == "declared"


def test_a_backtest_trains_by_the_recipe_that_runs_take(home: Home) -> None:
    def loss() -> float:
        *_, results = worker.backtest(home, "m", folds=2, tasks=TASKS)
        assert isinstance(results, dict)
        return results["m"].standings[0].loss

    declared = loss()
    look(home)
    assert loss() < 0.5 * declared


def test_a_recipe_that_was_chosen_by_what_is_judged_is_refused(home: Home) -> None:
    look(home)
    kept = home.registry.recipe("m")
    assert kept is not None
    home.registry.save_recipe(replace(kept, seen_until=START + timedelta(hours=HOURS)))
    with pytest.raises(Leak, match="found by a search that has looked at rows until"):
        prepared(home)


def test_several_models_are_walked_at_once_with_the_results_of_each_alone(home: Home) -> None:
    settings = home.settings.models["m"]
    other = settings.model_copy(update={"recipe": TabularRecipe(ridge=0.0)})
    both = replace(home, settings=home.settings.model_copy(update={"models": {"m": settings, "n": other}}))
    *numbers, together = worker.backtest(both, "m", "n", folds=2, tasks=TASKS)
    assert numbers == [1, 2, 3, 4]
    assert isinstance(together, dict)
    for name in ("m", "n"):
        *_, alone = worker.backtest(both, name, folds=2, tasks=TASKS)
        assert alone == {name: together[name]}
    assert together["n"].standings[0].loss < together["m"].standings[0].loss


def test_the_table_of_trials_names_the_declared_one_and_ends_with_what_came_of_it(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    found = look(home)
    print_search(found)
    out = capsys.readouterr().out
    assert "as declared" in out
    assert f"ridge {found.changes['ridge']}" in out
    assert found.reason in " ".join(out.split())


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--fix", "window"), "belong to a search"),
        (("--search-budget", "5m"), "belong to a search"),
        (("--search", "5", "--declared"), "do not go together"),
        (("--search", "5", "--until", "2024-01-01"), "do not go together"),
    ],
)
def test_options_that_do_not_go_together_are_refused_before_anything_is_opened(
    options: tuple[str, ...], what: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=what):
        command.main(["m", *options], obj=tmp_path / "springtide.toml", standalone_mode=False)
