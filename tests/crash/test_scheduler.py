"""A scheduler that is killed between a submission and its record: once more, and never not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tests.unit.app.scheduler_world import NOON, World, model, open_in

if TYPE_CHECKING:
    from pathlib import Path

TOML = model("btc", 'cron = "5 * * * *"') + model("eth", 'cron = "5 * * * *"')
TICK = """
import os, signal, sys
from datetime import datetime
from pathlib import Path
from springtide.app.home import open_home, read_settings
from springtide.app.scheduler import Scheduler

folder, moment, killed_at = Path(sys.argv[1]), datetime.fromisoformat(sys.argv[2]), sys.argv[3]
environ = {
    "SPRINGTIDE_HOME__STORE": str(folder / "var"),
    "SPRINGTIDE_HOME__DATABASE": f"sqlite:///{folder}/var/springtide.db",
}
home = open_home(read_settings(folder / "springtide.toml", environ=environ))

def submit(model, reasons):
    if killed_at == f"before {model}":
        os.kill(os.getpid(), signal.SIGKILL)
    with (folder / "submitted").open("a") as file:
        file.write(f"{model}\\n")
    if killed_at == f"after {model}":
        os.kill(os.getpid(), signal.SIGKILL)

Scheduler(home, submit, lambda source: None, lambda: moment, print).tick()
"""


@pytest.mark.parametrize("killed_at", ["before btc", "after eth"])
def test_a_killed_scheduler_submits_a_run_at_most_once_more_and_loses_none(killed_at: str, tmp_path: Path) -> None:
    world = World(tmp_path, open_in(tmp_path, TOML))
    world.scheduler().tick()
    moment = NOON + timedelta(minutes=5)
    command = [sys.executable, "-c", TICK, str(tmp_path), moment.isoformat(), killed_at]
    killed = subprocess.run(command, check=False, env=os.environ, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    before = (tmp_path / "submitted").read_text().split() if (tmp_path / "submitted").exists() else []
    world.now = moment + timedelta(seconds=1)
    scheduler = world.scheduler()
    world.ticks(scheduler, timedelta(), timedelta(seconds=1))
    submitted = before + [name for name, _ in world.submitted]
    assert {"btc", "eth"} <= set(submitted)
    assert max(submitted.count("btc"), submitted.count("eth")) <= 2
    assert sorted(name for name, _ in world.submitted) == ["btc", "eth"]
