"""``springtide compare`` through the real command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.cli.world import make_home, refused, said, springtide, trained_home

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One version serves; tests only look."""
    return trained_home(tmp_path_factory)


def test_the_champion_stands_beside_the_baselines_and_the_table_says_the_same_as_the_json(home: Path) -> None:
    found = said(home, "compare", "btc", "--last", "3")
    names = [one["name"] for one in found["contenders"]]
    assert {"btc@1", "last-value", "ewma-volatility"} <= set(names)
    assert any(one["in_set"] for one in found["contenders"])
    shown = springtide(home, "compare", "btc").stdout
    lines = [line for line in shown.splitlines() if line.startswith("│ ")]
    assert [line.split("│")[1].strip() for line in lines] == names
    assert [line.split("│")[-2].strip() == "yes" for line in lines] == [one["in_set"] for one in found["contenders"]]
    assert f"{found['items']:,} items that none of them has seen" in shown


def test_a_model_without_a_version_is_told_how_to_get_one(tmp_path: Path) -> None:
    make_home(tmp_path, rows=50)
    assert "retrain btc" in refused(tmp_path, "compare", "btc")
    assert "did you mean 'btc'" in refused(tmp_path, "compare", "btd")
