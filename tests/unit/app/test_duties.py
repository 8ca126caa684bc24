"""What one worker does for all, beside ticking the scheduler (which has a suite of its own)."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tests.unit.app.scheduler_world import World

from springtide.app import duties
from springtide.app.duties import SchedulerDuties
from springtide.app.home import open_home, read_settings
from springtide.app.live_home import LiveHome

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SETTINGS = """\
[models.btc]
task = "forecast"
table = "candles"
[models.btc.retrain]
drift = true
[notify]
urls = ["json://127.0.0.1:9"]
"""
LOOK = {"reasons": ["volume has moved", "the losses have grown"], "skill_lost": True}


def look_again(folder: Path, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]) -> list[tuple[str, str]]:
    """The notices that one look at drift leaves, by a process that answers so."""
    program = f"import sys\nfor line in sys.stdin:\n    print({json.dumps(answer)!r}, flush=True)"
    monkeypatch.setattr(duties, "executor_command", lambda _config: [sys.executable, "-c", program])
    (folder / "springtide.toml").write_text(SETTINGS)
    world = World(folder, open_home(read_settings(folder / "springtide.toml", environ={})))
    world.publish("btc", datetime(2024, 1, 1, tzinfo=UTC))
    mine = SchedulerDuties(LiveHome(folder / "springtide.toml"))
    try:
        until = time.monotonic() + 20
        while not world.home.registry.notices(10) and time.monotonic() < until:
            mine.tick()
            time.sleep(0.1)
        return [(one.notice.event, one.notice.text) for one in world.home.registry.notices(10)]
    finally:
        mine.close()


def test_inputs_and_losses_that_have_moved_are_told_as_what_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = look_again(tmp_path, monkeypatch, LOOK)
    assert sorted(told) == [("drift", "volume has moved"), ("skill_lost", "the losses have grown")]


def test_a_loss_that_grew_alone_is_told_as_lost_skill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = look_again(tmp_path, monkeypatch, {"reasons": ["the losses have grown"], "skill_lost": True})
    assert told == [("skill_lost", "the losses have grown")]


def test_inputs_alone_are_told_as_drift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = look_again(tmp_path, monkeypatch, {"reasons": ["volume has moved"], "skill_lost": False})
    assert told == [("drift", "volume has moved")]


def test_a_drift_starts_a_run_with_its_reasons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look_again(tmp_path, monkeypatch, LOOK)
    home = open_home(read_settings(tmp_path / "springtide.toml", environ={}))
    until = time.monotonic() + 5
    mine = SchedulerDuties(LiveHome(tmp_path / "springtide.toml"))
    while home.registry.active_run("btc") is None and time.monotonic() < until:
        mine.tick()
        time.sleep(0.1)
    mine.close()
    run = home.registry.active_run("btc")
    assert run is not None
    assert any("volume has moved" in reason for reason in run.reasons)
