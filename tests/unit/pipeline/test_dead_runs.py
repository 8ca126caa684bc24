"""A run whose process was killed is closed by the next one; a living one is left alone."""

from __future__ import annotations

import socket
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from springtide.domain.process import this_process
from springtide.domain.run import Run, Step
from springtide.pipeline.dead_runs import close_dead_runs
from springtide.registry.blobs import Blobs
from springtide.registry.database import open_database
from springtide.registry.migrate import migrate
from springtide.registry.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    url = f"sqlite:///{tmp_path}/springtide.db"
    migrate(url)
    engine = open_database(url)
    yield Registry(engine, Blobs(str(tmp_path / "models")))
    engine.dispose()


def dead_process() -> str:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return f"{socket.gethostname()}:{ended.pid}"


def running(name: str, process: str | None) -> Run:
    return Run(name, "btc", "running", ("by hand",), NOW, steps=(Step("train", NOW),), process=process)


def test_a_run_of_a_dead_process_is_closed_with_the_step_it_had_come_to(registry: Registry) -> None:
    registry.save_run(running("dead", dead_process()))
    assert [run.id for run in close_dead_runs(registry, "btc", now=lambda: NOW)] == ["dead"]
    run = registry.run("dead")
    assert (run.state, run.finished) == ("failed", NOW)
    assert run.failure is not None
    assert run.failure.where == "step train"


@pytest.mark.parametrize(
    "process",
    [this_process(), f"{socket.gethostname()}:1", "elsewhere:1", None],
    ids=["this process", "the first process, by its number alone", "elsewhere", "unknown"],
)
def test_a_run_that_lives_or_of_which_nothing_is_known_is_left_alone(registry: Registry, process: str | None) -> None:
    registry.save_run(running("alive", process))
    assert close_dead_runs(registry, "btc", now=lambda: NOW) == []
    assert registry.run("alive").state == "running"


def test_a_run_of_an_earlier_process_with_our_number_is_closed(registry: Registry) -> None:
    host, pid, born = this_process().split(":")
    registry.save_run(running("before", f"{host}:{pid}:{int(born) - 1}"))
    assert [run.id for run in close_dead_runs(registry, "btc", now=lambda: NOW)] == ["before"]
