"""Workers that die at any moment: their runs go on elsewhere, nothing is lost, nothing is published or trained twice."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from tests import killing
from tests.databases import new_database, postgres_server

from springtide.app import queue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from springtide.app.home import Home


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres_server(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Home]:
    """A home with two models, on a database of its own."""
    url = "sqlite:///var/springtide.db"
    if request.param == "postgresql":
        url = new_database(request.getfixturevalue("postgres"))
    home = killing.make_home(tmp_path / "home", url, models=2)
    yield home
    home.registry.engine.dispose()


def test_runs_whose_workers_are_killed_end_once_with_every_row(home: Home, tmp_path: Path) -> None:
    with killing.Workers(tmp_path / "home", count=2) as workers:
        moments = [("train", None), ("evaluate", 0.0), ("publish", 0.0)]
        runs = killing.kill_many(home, workers, ["m0", "m1"], kills=3, seed=1, moments=moments)
        found = killing.wait_for_all(home, runs, patience_s=120)
    counts = killing.check(home, found, rows=killing.HOURS)
    bad = {name: counts[name] for name in counts if "twice" in name or "lost" in name or "not" in name}
    assert set(bad.values()) == {0}, counts
    assert counts["without one journal line"] == 0


def test_a_living_worker_takes_over_within_ten_seconds(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "home"
    with killing.Workers(folder, count=2) as workers:
        run = queue.submit(home, "m0", reasons=("killing",))
        while not (found := home.registry.run(run.id)).steps or found.steps[-1].name != "train":
            time.sleep(0.05)
        workers.start = lambda: workers.processes[0]  # type: ignore[method-assign] # nobody starts it again
        assert workers.kill(found, "train")
        killed = time.monotonic()
        while home.registry.run(run.id).attempts < 2:
            assert time.monotonic() - killed < 10
            time.sleep(0.05)
        (ended,) = killing.wait_for_all(home, [run.id], patience_s=60)
    assert (ended.state, ended.attempts) == ("succeeded", 2)
    assert ended.worker != found.worker
