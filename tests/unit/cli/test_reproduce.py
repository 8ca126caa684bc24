"""``springtide reproduce`` through the real command."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.unit.cli.world import opened, refused, said, springtide, trained_home

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One version serves."""
    return trained_home(tmp_path_factory)


def test_a_run_that_comes_out_the_same_exits_with_0(home: Path) -> None:
    found = said(home, "reproduce", "btc@1")
    assert found["same"] is True
    assert {one["name"] for one in found["results"]} == {"items", "training", "weights", "probe", "metrics", "verdict"}
    assert all(one["same"] for one in (*found["results"], *found["circumstances"]))


def test_a_run_that_comes_out_otherwise_exits_with_1_and_says_in_what(home: Path, tmp_path: Path) -> None:
    registry = opened(home).registry
    first = registry.version("btc", 1)
    run = registry.run(first.manifest.run)
    metrics = {**first.manifest.metrics, "last-value": {**first.manifest.metrics["last-value"], "loss": 7.0}}
    manifest = replace(first.manifest, run="copy", files={}, metrics=metrics)
    copy = registry.publish(manifest, registry.fetch(first, tmp_path), first.verdict)
    registry.save_run(replace(run, id="copy", version=copy.number))
    registry.keep("btc", copy.number, run="copy", by="test", reason="a copy", at=run.started)
    shown = springtide(home, "reproduce", "copy", code=1).stdout
    assert "last-value.loss: 7.0 then" in shown
    assert "DIFFERS btc@2: other metrics" in shown


def test_an_unknown_run_is_refused(home: Path) -> None:
    assert "there is no run 'nobody'" in refused(home, "reproduce", "nobody")
