"""Runs of the queue, done by a real worker process: joined, ordered, limited, stopped, handed back."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest
from tests import killing

from springtide.app import queue
from springtide.domain.errors import Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from springtide.app.home import Home
    from springtide.domain.run import Run

LONG = "max_steps = 100000\npatience = 100000\nbudget = '60s'"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("durable") / "home"


@pytest.fixture(scope="module")
def home(folder: Path) -> Iterator[Home]:
    """Models m0 and m1, one that trains for a minute, one that may use no memory and one that may take no time."""
    quick = killing.MODEL.replace("max_steps = 120", "max_steps = 20")
    home = killing.make_home(
        folder,
        "sqlite:///var/springtide.db",
        written=quick.format(name="m0")
        + quick.format(name="m1")
        + quick.replace("max_steps = 20\npatience = 1000\n", "").replace('budget = "60s"', LONG).format(name="long")
        + quick.format(name="fat")
        + '[models.fat.limits]\nmemory = "150MB"\n'
        + quick.format(name="slow")
        + '[models.slow.limits]\ntime = "1s"\n',
    )
    yield home
    home.registry.engine.dispose()


@pytest.fixture(scope="module")
def workers(home: Home, folder: Path) -> Iterator[killing.Workers]:
    with killing.Workers(folder, count=1) as workers:
        yield workers


def wait_for(home: Home, run: str, step: str) -> Run:
    """The run when that step has begun."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = home.registry.run(run)
        assert not found.ended, found
        if found.steps and found.steps[-1].name == step:
            return found
        time.sleep(0.02)
    raise AssertionError(f"step {step} of {run} has not begun")


def test_what_is_asked_for_while_a_run_waits_joins_it_with_its_reason(home: Home) -> None:
    first = queue.submit(home, "m0", reasons=("by hand",))
    again = queue.submit(home, "m0", reasons=("24 new rows", "by hand"))
    assert again.id == first.id
    assert again.reasons == ("by hand", "24 new rows")
    assert home.registry.active_run("m0") == again
    assert [event.kind for event in home.registry.events(first.id)] == ["state", "reason"]
    queue.cancel(home, first.id, by="a test")


def test_a_run_that_waits_is_cancelled_at_once_and_no_worker_takes_it_up(home: Home) -> None:
    run = queue.submit(home, "m0", reasons=("by hand",))
    ended = queue.cancel(home, run.id, by="anna")
    assert (ended.state, ended.failure and ended.failure.what) == ("cancelled", "cancelled by anna")
    assert home.registry.active_run("m0") is None
    with pytest.raises(Conflict, match="has cancelled already"):
        queue.cancel(home, run.id, by="anna")


def test_a_model_that_nobody_knows_is_refused_before_it_waits(home: Home) -> None:
    with pytest.raises(NotFound, match="did you mean 'long'"):
        queue.submit(home, "lng", reasons=("by hand",))


def test_the_highest_priority_goes_first(home: Home, workers: killing.Workers) -> None:
    late = queue.submit(home, "m0", reasons=("the clock",), priority=0)
    soon = queue.submit(home, "m1", reasons=("by hand",), priority=10)
    ended = killing.wait_for_all(home, [late.id, soon.id], patience_s=120)
    killing.check(home, ended, rows=killing.HOURS)
    assert ended[1].started < ended[0].started


def test_a_run_that_is_cancelled_while_it_trains_stops_within_two_seconds(home: Home, workers: killing.Workers) -> None:
    run = queue.submit(home, "long", reasons=("by hand",))
    wait_for(home, run.id, "train")
    asked = time.monotonic()
    queue.cancel(home, run.id, by="anna")
    (ended,) = killing.wait_for_all(home, [run.id], patience_s=10)
    assert time.monotonic() - asked < 2
    assert (ended.state, ended.failure and ended.failure.what) == ("cancelled", "cancelled by anna")
    assert home.registry.versions("long") == []
    assert home.run_files.names(run.id) == set()


@pytest.mark.parametrize(("model", "words"), [("fat", "GB of memory"), ("slow", "took longer than the 1 s")])
def test_a_run_that_passes_a_limit_fails_with_that_reason_and_the_worker_lives_on(
    home: Home, workers: killing.Workers, model: str, words: str
) -> None:
    run = queue.submit(home, model, reasons=("by hand",))
    (ended,) = killing.wait_for_all(home, [run.id], patience_s=60)
    assert ended.state == "failed"
    assert ended.failure is not None
    assert words in ended.failure.what
    after = queue.submit(home, "m0", reasons=("by hand",))
    (ended,) = killing.wait_for_all(home, [after.id], patience_s=60)
    assert ended.state == "succeeded"


def test_a_worker_that_is_told_to_stop_hands_its_run_back_and_another_goes_on(
    home: Home, workers: killing.Workers
) -> None:
    run = queue.submit(home, "long", reasons=("by hand",))
    wait_for(home, run.id, "train")
    (first,) = workers.processes
    first.send_signal(signal.SIGTERM)
    assert first.wait(10) == 0
    assert home.registry.run(run.id).state == "running"
    workers.processes = [workers.start()]
    deadline = time.monotonic() + 20
    while home.registry.run(run.id).attempts < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    queue.cancel(home, run.id, by="a test")
    killing.wait_for_all(home, [run.id], patience_s=20)
