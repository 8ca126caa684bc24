"""Workers as processes that are killed while they work, and what has to hold whoever was killed when."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.unit.cli.world import csv, environment

from springtide.app import queue
from springtide.app.home import Home, open_home, read_settings
from springtide.domain.rows import KEY
from springtide.pipeline.steps import STEPS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from springtide.domain.run import Run

HOURS = 1500
SETTINGS = """\
[home]
store = "{store}"
database = "{database}"

[sources.candles]
kind = "files"
path = "./rows"
series = "BTC/USDT"
{models}
"""
MODEL = """
[models.{name}]
task = "forecast"
table = "candles"
window = 24
horizon = 4
budget = "60s"
max_steps = 120
patience = 1000
validation = "5d"
[models.{name}.gate]
judge = "10d"
baselines = ["last-value"]
first = "always"
"""


def make_home(folder: Path, database: str, *, store: str = "./var", models: int = 0, written: str = "") -> Home:
    """A home with models m0, m1, ... and those written, which learn from one table whose rows come from files."""
    (folder / "rows").mkdir(parents=True)
    (folder / "rows" / "first.csv").write_text(csv(0, HOURS))
    written += "".join(MODEL.format(name=f"m{number}") for number in range(models))
    (folder / "springtide.toml").write_text(SETTINGS.format(store=store, database=database, models=written))
    return open_home(read_settings(folder / "springtide.toml", environ={}))


@dataclass
class Workers:
    """Worker processes, each started again when it was killed."""

    folder: Path
    count: int
    grace_s: float = 0.2
    processes: list[subprocess.Popen[str]] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)

    def __enter__(self) -> Workers:
        self.processes = [self.start() for _ in range(self.count)]
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def start(self) -> subprocess.Popen[str]:
        """Another worker."""
        command = [sys.executable, "-m", "springtide.app.work", "--grace", str(self.grace_s)]
        return subprocess.Popen(
            command, cwd=self.folder, env=environment(), stdout=subprocess.DEVNULL, text=True, start_new_session=True
        )

    def kill(self, run: Run, why: str) -> bool:
        """Kill -9 the worker that has a run, and start another in its place; False where none of ours has it."""
        number = int((run.process or ":0").split(":")[1])
        for place, process in enumerate(self.processes):
            if process.pid == number and process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
                self.processes[place] = self.start()
                self.kills[why] += 1
                return True
        return False


def kill_at_step(
    home: Home, workers: Workers, model: str, step: str, *, within_s: float, patience_s: float = 90
) -> bool:
    """Kill the worker of the model's run soon after the step has begun; False if the run ended before that."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        run = home.registry.active_run(model)
        if run is None:
            return False
        if run.state == "running" and run.steps and run.steps[-1].name == step and run.steps[-1].seconds is None:
            time.sleep(within_s)
            return workers.kill(home.registry.run(run.id), step)
        time.sleep(0.01)
    raise AssertionError(f"step {step} of {model} has not begun in {patience_s} s")


def wait_for_all(home: Home, runs: list[str], *, patience_s: float) -> list[Run]:
    """The runs when all of them have ended."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        found = [home.registry.run(run) for run in runs]
        if all(run.ended for run in found):
            return found
        time.sleep(0.2)
    raise AssertionError([(run.id, run.state, run.steps[-1:]) for run in found if not run.ended])


def check(home: Home, runs: list[Run], *, rows: int) -> dict[str, int]:
    """What has to hold; the counts that people want to see."""
    registry = home.registry
    assert [run.failure for run in runs if run.state != "succeeded"] == []
    published = Counter(version.manifest.run for model in registry.models() for version in registry.versions(model))
    lines = Counter(line.run for model in registry.models() for line in registry.journal(model))
    told = {run.id: registry.events(run.id, limit=100_000) for run in runs}
    trained = {
        name: sum(event.kind == "step_finished" and event.body["step"] == "train" for event in events)
        for name, events in told.items()
    }
    table = home.lake.table("candles").scan().collect()
    counts = {
        "runs": len(runs),
        "runs lost": sum(run.state != "succeeded" for run in runs),
        "not published": sum(published[run.id] == 0 for run in runs),
        "published twice": sum(published[run.id] > 1 for run in runs),
        "without one journal line": sum(lines[run.id] != 1 for run in runs),
        "trained twice": sum(count > 1 for count in trained.values()),
        "trainings resumed": sum(
            bool(step.result.get("resumed_from")) for run in runs for step in run.steps if step.name == "train"
        ),
        "rows lost": rows - table.height,
        "rows twice": int((~table.select(KEY).is_unique()).sum()),
        "taken up": sum(run.attempts for run in runs),
    }
    for run in runs:
        assert [step.name for step in run.steps] == list(STEPS)
        _wait_until_tidy(home, run)
    return counts


def _wait_until_tidy(home: Home, run: Run) -> None:
    """A run's files are removed right after its end was stored."""
    deadline = time.monotonic() + 10
    while left := home.run_files.names(run.id):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


MOMENTS: tuple[tuple[str, float | None], ...] = (*((step, 0.0) for step in STEPS), *((("train", None),) * 6))


def kill_many(
    home: Home,
    workers: Workers,
    models: list[str],
    *,
    kills: int,
    seed: int,
    moments: Sequence[tuple[str, float | None]] = MOMENTS,
) -> list[str]:
    """Ask for run after run and kill so many seconds after steps have begun, in turn (None: at random); the runs' ids."""
    chance, asked = random.Random(seed), []
    place = 0
    while sum(workers.kills.values()) < kills:
        model = models[place % len(models)]
        run = queue.submit(home, model, reasons=("killing",))
        if run.id not in asked:
            asked.append(run.id)
        step, within = moments[place % len(moments)]
        kill_at_step(home, workers, model, step, within_s=chance.uniform(0, 2.5) if within is None else within)
        place += 1
    return asked
