"""What `springtide forecast` and `springtide models` say of old rows and of doubtful input."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.serving_world import SERIES, World, make_world

from springtide.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

BTC, ETH = SERIES


def serving(folder: Path, expires: str = "", **how: Any) -> World:
    world = make_world(folder, expires=expires)  # its rows are of January 2024
    world.promote(world.publish(0.0, **how))
    return world


def said(world: World, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    main(["--config", str(world.config), *words])
    return capsys.readouterr().out


def test_an_expired_forecast_is_an_error_and_no_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = serving(tmp_path, 'data = "6h"')
    with pytest.raises(SystemExit) as left:
        main(["--config", str(world.config), "forecast", "btc", "--json"])
    told = capsys.readouterr()
    assert (left.value.code, told.out) == (1, "")
    assert told.err.startswith("Expired: expired since 2024-01-05 10:00 UTC: the newest row of BTC/USDT closed at")
    assert "springtide ingest" in told.err


@pytest.mark.parametrize(
    ("expires", "state", "end"), [('data = "6h"', "expired", "2024-01-05T10:00:00Z"), ("", "serving", None)]
)
def test_the_list_of_models_says_which_have_expired_and_when(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], expires: str, state: str, end: str | None
) -> None:
    world = serving(tmp_path, expires)
    [model] = json.loads(said(world, capsys, "models", "--json"))
    assert (model["state"], model["expires_at"], model["champion"]) == (state, end, 1)
    table = said(world, capsys, "models")
    assert state in table
    assert ("2024-01-05 10:00" in table) == (end is not None)


def test_a_model_without_a_champion_is_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [model] = json.loads(said(make_world(tmp_path), capsys, "models", "--json"))
    assert (model["state"], model["champion"], model["expires_at"]) == ("empty", None, None)


def test_a_model_that_is_only_in_the_registry_is_empty_while_it_has_no_champion(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = serving(tmp_path)
    world.publish(0.0, model="old")
    models = {one["model"]: one["state"] for one in json.loads(said(world, capsys, "models", "--json"))}
    assert models == {"btc": "serving", "old": "empty"}


def test_a_forecast_shows_the_doubt_of_every_series(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = serving(tmp_path, outputs=("quantiles", "dissimilarity"), doubt_threshold=2.5)
    main(["--config", str(world.config), "forecast", "btc"])
    told = capsys.readouterr()
    doubts = [line.split() for line in told.out.splitlines() if "usual" in line.split() or "doubtful" in line.split()]
    cells = [[cell for cell in line if cell not in "│┃"] for line in doubts]
    assert cells[-2:] == [[BTC, "1.99", "2.5", "usual"], [ETH, "2.99", "2.5", "doubtful"]]
    assert "ETH/USDT: the input is far from what the model was trained on (2.99, usual is below 2.5)" in told.err


def test_a_model_without_doubts_shows_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "dissimilarity" not in said(serving(tmp_path), capsys, "forecast", "btc")
