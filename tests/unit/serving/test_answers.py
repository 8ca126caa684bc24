"""What the server's verbs answer, without HTTP in between."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.serving_world import (
    HORIZON,
    LAST,
    NOW,
    ROWS,
    SERIES,
    STEP_S,
    WINDOW,
    World,
    candles,
    close,
    make_world,
    quantile,
    verdict,
)

from springtide.app.answers import Answers
from springtide.app.home import open_home, read_settings
from springtide.domain.errors import BadRows, Conflict, ModelRefused, NotFound, NotReady, TooFewRows

if TYPE_CHECKING:
    from pathlib import Path

BTC, ETH = SERIES


@dataclass
class Clock:
    """A clock that stands still until it is set."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


@pytest.fixture
def answers(world: World, clock: Clock) -> Answers:
    answers = Answers(world.home, clock=clock)
    world.promote(world.publish(0.01))
    answers.shelf.look()
    return answers


def records(count: int = WINDOW, **change: Any) -> list[dict[str, Any]]:
    rows = candles(count, first=ROWS - count, series=(BTC,)).to_dicts()
    return [{**row, "ds": row["ds"].isoformat(), **change} for row in rows]


def test_a_forecast_carries_all_that_traces_it(answers: Answers, world: World) -> None:
    answer = answers.forecast("btc", [ETH])
    version = world.home.registry.version("btc", 1)
    assert (answer["model"], answer["version"], answer["run"]) == ("btc", 1, version.manifest.run)
    assert answer["snapshot"]["sha256"] == version.manifest.snapshot.sha256
    assert answer["verdict"] == "beats every rival"
    assert answer["warning"] is None
    assert answer["cutoff"] == LAST
    columns = answer["columns"]
    assert columns["unique_id"] == [ETH] * HORIZON
    assert columns["ds"] == [LAST + timedelta(seconds=STEP_S * step) for step in range(1, HORIZON + 1)]
    last = close(ETH, ROWS - 1)
    assert columns["btc-lo-90"] == pytest.approx([quantile(last, 0.01, step, 0) for step in range(1, HORIZON + 1)])
    assert columns["btc-hi-80"] == pytest.approx([quantile(last, 0.01, step, 3) for step in range(1, HORIZON + 1)])


def test_all_series_are_forecast_when_none_is_named(answers: Answers) -> None:
    assert answers.forecast("btc")["columns"]["unique_id"] == [BTC] * HORIZON + [ETH] * HORIZON


def test_rows_that_are_more_than_three_steps_old_are_warned_of(answers: Answers, clock: Clock) -> None:
    clock.now = LAST + timedelta(hours=3)
    assert answers.forecast("btc", [BTC])["warning"] is None
    clock.now = LAST + timedelta(hours=3, seconds=1)
    assert "BTC/USDT: the newest row is of 2024-01-05 03:00 UTC" in answers.forecast("btc", [BTC])["warning"]


def test_a_warning_of_the_gate_stays_with_every_forecast_of_that_version(answers: Answers, world: World) -> None:
    said = "first version, not judged"
    world.promote(world.publish(0.0, judged=verdict(warning=said)))
    answers.shelf.look()
    assert answers.forecast("btc")["warning"] == said
    assert answers.models()[0]["warning"] == said


def test_filled_steps_are_warned_of(answers: Answers, world: World) -> None:
    world.home.lake.table("candles").write(candles(1, first=ROWS + 2, series=(BTC,)))
    answers.shelf.look()
    assert "BTC/USDT: 2 steps of the window had no row" in answers.forecast("btc", [BTC])["warning"]


def test_a_refused_champion_is_told_with_every_forecast_and_with_the_model(answers: Answers, world: World) -> None:
    world.promote(world.publish(0.5, wrong_probe=True))
    answers.shelf.look()
    assert "btc@2 was refused" in answers.forecast("btc")["warning"]
    model = answers.model("btc")
    assert (model["champion"], model["serving"]["version"], model["refusal"]["version"]) == (2, 1, 2)


def test_prediction_from_rows_in_the_request_equals_the_forecast_from_the_same_rows_in_the_lake(
    answers: Answers,
) -> None:
    rows = [{**row, "ds": int(row["ds"].timestamp())} for row in candles().to_dicts()]
    assert answers.predict("btc", rows)["columns"] == answers.forecast("btc")["columns"]


def test_records_and_columns_are_the_same_to_a_prediction(answers: Answers) -> None:
    rows = records()
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    assert answers.predict("btc", rows) == answers.predict("btc", columns)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "no rows"),
        ({"unique_id": ["a"], "ds": []}, "different lengths"),
        ([{"ds": 0}], "no column 'unique_id'"),
        (records(ds="2024-01-01T00:00:00"), "row 1: ds is '2024-01-01T00:00:00'"),
        (records(ds="yesterday"), "row 1: ds is 'yesterday'"),
        (records(ds=1_704_067_200_000), "row 1: ds is 1704067200000"),
        (records(ds=1.5), "row 1: ds is 1.5"),
        (records(ds=None), "row 1: ds is None"),
        (records(ds=True), "row 1: ds is True"),
        (records(ds=0), "doubled or off the grid"),
        (records(close="7"), "row 1: close is '7'"),
        (records(close=None), "row 1: close is None"),
        (records(close=10**400), "row 1: close is too large a number"),
        (records(ds=10**400), "row 1: ds is 1000000"),
        (records(close=-1), "row 1 holds"),
        (records(close=float("nan")), "row 1 holds"),
        (records(unique_id=7), "row 1: unique_id is 7"),
        ([*records(), {"unique_id": BTC}], "row 25 and row 1 do not have the same columns"),
        ([{"unique_id": BTC, "ds": 0}], "no column 'open'"),
    ],
)
def test_rows_that_are_no_candles_are_refused(answers: Answers, rows: Any, said: str) -> None:
    with pytest.raises(BadRows, match=said):
        answers.predict("btc", rows)


def test_too_few_rows_are_refused(answers: Answers) -> None:
    with pytest.raises(TooFewRows, match="23 rows of BTC/USDT, the model's window needs 24"):
        answers.predict("btc", records(WINDOW - 1))


def tensors(batch: int = 1) -> list[dict[str, Any]]:
    return [
        {"name": "candles", "datatype": "FP64", "shape": [batch, WINDOW, 5], "data": [100.0] * (batch * WINDOW * 5)},
        {"name": "market", "datatype": "FP64", "shape": [batch, WINDOW], "data": [[0.0] * WINDOW] * batch},
        {"name": "cutoff", "datatype": "INT64", "shape": [batch], "data": [0] * batch},
    ]


def test_the_bare_graph_answers_tensors(answers: Answers) -> None:
    answer = answers.infer("btc", {"id": "7", "inputs": tensors(2)})
    [output] = answer["outputs"]
    assert (answer["id"], answer["model_version"]) == ("7", "1")
    assert (output["name"], output["datatype"], output["shape"]) == ("quantiles", "FP64", [2, HORIZON, 5])
    assert output["data"][2] == pytest.approx(101.0)


@pytest.mark.parametrize(
    "change",
    [{"shape": [1, 3]}, {"datatype": "FP16"}, {"data": ["x"]}, {"name": "candels"}, {"shape": [-7]}],
)
def test_tensors_that_do_not_fit_are_refused(answers: Answers, change: dict[str, Any]) -> None:
    first, *rest = tensors()
    with pytest.raises(BadRows):
        answers.infer("btc", {"inputs": [first | change, *rest]})


def test_an_output_that_the_graph_does_not_have_is_refused(answers: Answers) -> None:
    with pytest.raises(BadRows, match="did you mean 'quantiles'"):
        answers.infer("btc", {"inputs": tensors(), "outputs": [{"name": "quantile"}]})


def test_a_promotion_by_hand_serves_when_it_returns_and_says_what_the_verdict_was(
    answers: Answers, world: World
) -> None:
    world.publish(0.2, judged=verdict(promote=False))
    entry = answers.promote("btc", 2, by="ada")
    assert (entry.by, entry.serving, entry.previous) == ("ada", 2, 1)
    answer = answers.forecast("btc")
    assert answer["version"] == 2
    assert answer["warning"] == "promoted by hand against the verdict: does not beat last-value"


def test_a_version_that_fails_its_proof_cannot_be_promoted_by_hand(answers: Answers, world: World) -> None:
    world.publish(0.2, wrong_probe=True)
    with pytest.raises(ModelRefused):
        answers.promote("btc", 2, by="ada")
    assert [entry.version for entry in answers.journal("btc")] == [1]


def test_a_rollback_serves_when_it_returns(answers: Answers, world: World) -> None:
    with pytest.raises(Conflict):
        answers.rollback("btc", by="ada")
    world.promote(world.publish(0.2))
    answers.shelf.look()
    assert answers.rollback("btc", by="ada").serving == 1
    assert answers.forecast("btc")["version"] == 1


def test_the_lists_show_what_there_is(answers: Answers, world: World) -> None:
    world.publish(0.3)
    assert [version.number for version in answers.versions("btc")] == [2, 1]
    assert answers.runs("btc") == []
    assert answers.tables()[0] | {"version": 0} == {
        "table": "candles",
        "version": 0,
        "step_s": STEP_S,
        "key": ("unique_id", "ds"),
        "takes_rows": False,
    }
    assert answers.model("btc")["rows"]["newest"] == LAST.astimezone(UTC)
    assert answers.ready() == {"serving": ["btc"], "expired": [], "missing": []}


@pytest.mark.parametrize("verb", ["versions", "journal", "runs", "model", "forecast", "metadata"])
def test_a_mistyped_model_is_answered_with_the_nearest_name(answers: Answers, verb: str) -> None:
    with pytest.raises(NotFound, match="did you mean 'btc'"):
        getattr(answers, verb)("btcc")


def test_without_a_champion_the_server_is_not_ready_and_says_what_is_missing(world: World) -> None:
    answers = Answers(world.home, clock=Clock())
    with pytest.raises(NotReady, match="missing: btc"):
        answers.ready()
    with pytest.raises(NotReady, match="springtide retrain btc"):
        answers.forecast("btc")


def test_a_series_that_cannot_be_forecast_leaves_the_others_theirs_and_is_named(answers: Answers, world: World) -> None:
    rows = candles(30, first=ROWS, series=(BTC,))  # ETH ends 30 steps before it
    world.home.lake.table("candles").write(rows)
    answers.shelf.look()
    answer = answers.forecast("btc")
    assert set(answer["columns"]["unique_id"]) == {BTC}
    assert "ETH/USDT is left out: the newest row of ETH/USDT is 30 steps older" in answer["warning"]
    with pytest.raises(TooFewRows, match="30 steps older"):
        answers.forecast("btc", [ETH])


def test_a_rollback_to_a_version_promoted_by_hand_warns_as_before(answers: Answers, world: World) -> None:
    world.publish(0.2, judged=verdict(promote=False))
    answers.promote("btc", 2, by="ada")
    world.promote(world.publish(0.3))
    answers.shelf.look()
    assert answers.forecast("btc")["warning"] is None
    answers.rollback("btc", by="ada")
    answer = answers.forecast("btc")
    assert (answer["version"], "against the verdict" in answer["warning"]) == (2, True)


def test_a_server_of_which_no_model_is_asked_is_ready_for_rows_and_jobs(tmp_path: Path) -> None:
    (tmp_path / "springtide.toml").write_text("")
    answers = Answers(open_home(read_settings(tmp_path / "springtide.toml")))
    assert answers.ready() == {"serving": [], "expired": [], "missing": []}
