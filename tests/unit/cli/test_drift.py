"""``springtide drift`` through the real command."""

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


def test_the_table_says_the_same_as_the_json(home: Path) -> None:
    found = said(home, "drift", "btc")
    names = [one["name"] for one in found["inputs"]]
    assert set(names) == {f"{fact} of BTC/USDT" for fact in ("volatility", "return", "volume", "range")}
    assert found["version"] == "btc@1"
    assert found["loss"]["baseline"] == "last-value"
    shown = springtide(home, "drift", "btc").stdout
    rows = [line.split("│")[1:-1] for line in shown.splitlines() if line.startswith("│ ")]
    assert [row[0].strip() for row in rows] == [*names, "last-value"]
    drifted = [*(one["drifted"] for one in found["inputs"]), found["loss"]["drifted"]]
    assert [row[-1].strip() == "yes" for row in rows] == drifted
    assert shown.splitlines()[-1] == (found["reasons"] or ["no drift"])[-1]


def test_a_model_without_a_version_is_told_how_to_get_one(tmp_path: Path) -> None:
    make_home(tmp_path, rows=50)
    assert "retrain btc" in refused(tmp_path, "drift", "btc")
