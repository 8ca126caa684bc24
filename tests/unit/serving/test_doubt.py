"""A forecast carries how far its input is from what the model was trained on, where the graph says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.serving_world import HORIZON, NOW, ROWS, SERIES, World, candles, close, make_world

from springtide.app.answers import Answers

if TYPE_CHECKING:
    from pathlib import Path

BTC, ETH = SERIES
BOTH = ("quantiles", "dissimilarity")
FAR = {series: close(series, ROWS - 1) / 100 for series in SERIES}  # 1.99 and 2.99


def serving(folder: Path, **how: Any) -> tuple[Answers, World]:
    world = make_world(folder)
    world.promote(world.publish(0.0, **how))
    answers = Answers(world.home, clock=lambda: NOW)
    answers.shelf.look()
    return answers, world


@pytest.mark.parametrize("outputs", [BOTH, BOTH[::-1]])
def test_the_dissimilarity_is_found_by_its_name_wherever_it_stands(tmp_path: Path, outputs: tuple[str, ...]) -> None:
    answers, _ = serving(tmp_path, outputs=outputs, doubt_threshold=2.5)
    answer = answers.forecast("btc")
    assert answer["columns"]["btc"][::HORIZON] == pytest.approx([close(BTC, ROWS - 1), close(ETH, ROWS - 1)])
    assert {series: one["dissimilarity"] for series, one in answer["doubt"].items()} == pytest.approx(FAR)


def test_only_an_input_above_the_threshold_is_doubtful_and_warned_of(tmp_path: Path) -> None:
    answers, _ = serving(tmp_path, outputs=BOTH, doubt_threshold=2.5)
    answer = answers.forecast("btc")
    assert {series: (one["threshold"], one["doubtful"]) for series, one in answer["doubt"].items()} == {
        BTC: (2.5, False),
        ETH: (2.5, True),
    }
    assert answer["warning"] == (
        "ETH/USDT: the input is far from what the model was trained on (2.99, usual is below 2.5)"
    )
    assert answers.forecast("btc", [BTC])["doubt"].keys() == {BTC}
    assert answers.forecast("btc", [BTC])["warning"] is None


def test_rows_in_the_request_are_doubted_like_those_of_the_lake(tmp_path: Path) -> None:
    answers, _ = serving(tmp_path, outputs=BOTH, doubt_threshold=2.5)
    rows = [{**row, "ds": row["ds"].isoformat()} for row in candles().to_dicts()]
    assert answers.predict("btc", rows)["doubt"] == answers.forecast("btc")["doubt"]


def test_a_series_keeps_its_doubt_when_another_cannot_be_forecast(tmp_path: Path) -> None:
    answers, world = serving(tmp_path, outputs=BOTH, doubt_threshold=2.0)
    world.home.lake.table("candles").write(candles(30, first=ROWS, series=(BTC,)))  # ETH ends 30 steps before it
    answers.shelf.look()
    doubt = answers.forecast("btc")["doubt"]
    assert doubt == {BTC: {"dissimilarity": pytest.approx(2.29), "threshold": 2.0, "doubtful": True}}


@pytest.mark.parametrize("how", [{}, {"outputs": BOTH}], ids=["no second output", "no threshold"])
def test_a_model_that_cannot_tell_what_is_usual_has_no_doubts(tmp_path: Path, how: dict[str, Any]) -> None:
    answers, _ = serving(tmp_path, **how)
    answer = answers.forecast("btc")
    assert (answer["doubt"], answer["warning"]) == ({}, None)
    assert len(answer["columns"]["btc"]) == 2 * HORIZON


def test_the_bare_graph_gives_both_outputs_under_their_names(tmp_path: Path) -> None:
    answers, _ = serving(tmp_path, outputs=BOTH, doubt_threshold=2.5)
    assert [output["name"] for output in answers.metadata("btc")["outputs"]] == list(BOTH)
