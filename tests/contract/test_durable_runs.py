"""Runs of the queue, done by a real worker process: joined, ordered, limited, stopped, handed back."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from litestar.testing import TestClient
from sqlalchemy import text
from tests import killing
from tests.unit.cli.world import environment

from springtide.api.server import create_server
from springtide.app import queue
from springtide.app.answers import Answers
from springtide.domain.clock import utc_now
from springtide.domain.errors import Conflict, NotFound
from springtide.domain.run import Failure, Run, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from springtide.app.home import Home

OLD = Worker("", "", "0", datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC))
LONG = "max_steps = 100000\npatience = 100000\nbudget = '60s'"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("durable") / "home"


@pytest.fixture(scope="module")
def home(folder: Path) -> Iterator[Home]:
    """Models m0 and m1, one that trains for a minute, one that may use no memory and one that may take no time."""
    quick = killing.MODEL.replace("max_steps = 120", "max_steps = 20")
    long = quick.replace("max_steps = 20\npatience = 1000\n", "").replace('budget = "60s"', LONG)
    home = killing.make_home(
        folder,
        "sqlite:///var/springtide.db",
        written=quick.format(name="m0")
        + quick.format(name="m1")
        + long.format(name="long")
        + quick.format(name="fat")
        + '[models.fat.limits]\nmemory = "150MB"\n'
        + long.format(name="slow")
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


def test_what_a_run_tells_is_followed_to_its_end_by_the_queue_and_by_the_server(home: Home) -> None:
    run = queue.submit(home, "m0", reasons=("by hand",))
    queue.submit(home, "m0", reasons=("24 new rows",))
    queue.cancel(home, run.id, by="a test")
    told = home.registry.events(run.id)
    assert [event.kind for event in told] == ["state", "reason", "state"]
    assert list(queue.follow(home, run.id)) == told
    assert list(queue.follow(home, run.id, after=told[0].number)) == told[1:]
    assert queue.news(home, run.id, after=told[-1].number) is None
    with TestClient(create_server(lambda: Answers(home))) as client:
        stream = client.get(f"/v1/runs/{run.id}/events").text
        rest = client.get(f"/v1/runs/{run.id}/events", headers={"Last-Event-ID": str(told[1].number)}).text
    assert re.findall(r"^id: (\d+)", stream, re.MULTILINE) == [str(event.number) for event in told]
    assert re.findall(r"^event: (\w+)", stream, re.MULTILINE) == [event.kind for event in told]
    assert re.findall(r"^id: (\d+)", rest, re.MULTILINE) == [str(told[2].number)]


def test_a_run_that_waits_is_cancelled_at_once_and_no_worker_takes_it_up(home: Home) -> None:
    run = queue.submit(home, "m0", reasons=("by hand",))
    ended = queue.cancel(home, run.id, by="anna")
    assert (ended.state, ended.failure and ended.failure.what) == ("cancelled", "cancelled by anna")
    assert home.registry.active_run("m0") is None
    with pytest.raises(Conflict, match="has cancelled already"):
        queue.cancel(home, run.id, by="anna")


def test_a_run_whose_end_was_stored_by_a_worker_that_was_killed_then_is_tidied_up_by_the_next(
    home: Home, folder: Path
) -> None:
    run = queue.submit(home, "m0", reasons=("by hand",))
    home.run_files.put(run.id, "exported.json", b"{}")
    failure = Failure("it broke", "step train", "mend it")
    home.registry.end_run(run.id, lambda found: replace(found, state="failed", failure=failure, finished=utc_now()))
    with killing.Workers(folder, count=1):
        deadline = time.monotonic() + 60
        while home.run_files.names(run.id):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert home.registry.run(run.id).failure == failure


def test_a_model_that_nobody_knows_is_refused_before_it_waits(home: Home) -> None:
    with pytest.raises(NotFound, match="did you mean 'long'"):
        queue.submit(home, "lng", reasons=("by hand",))


def test_a_run_whose_terminal_was_killed_is_closed_by_whoever_asks_next_or_stops_it(home: Home) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    gone = f"{socket.gethostname()}:{ended.pid}"
    left = Run("left-1", "m0", "running", ("by hand",), datetime.now(UTC), process=gone)
    home.registry.submit_run(left, lambda _connection: None)
    after = queue.submit(home, "m0", reasons=("by hand",))
    assert after.id != left.id
    assert home.registry.run(left.id).state == "failed"
    queue.cancel(home, after.id, by="a test")
    home.registry.submit_run(replace(left, id="left-2"), lambda _connection: None)
    assert queue.cancel(home, "left-2", by="anna").state == "cancelled"
    assert home.registry.active_run("m0") is None


def test_a_run_as_of_another_time_is_not_joined(home: Home) -> None:
    run = queue.submit(home, "m0", reasons=("by hand",))
    with pytest.raises(Conflict, match=r"learns from all rows, not as of 2024-02-01"):
        queue.submit(home, "m0", reasons=("by hand",), until=datetime(2024, 2, 1, tzinfo=UTC))
    queue.cancel(home, run.id, by="a test")


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
    waiting = home.registry.run(run.id)
    assert (waiting.state, waiting.worker, waiting.process) == ("queued", None, None)
    workers.processes = [workers.start()]
    deadline = time.monotonic() + 20
    while home.registry.run(run.id).attempts < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    queue.cancel(home, run.id, by="a test")
    killing.wait_for_all(home, [run.id], patience_s=20)


def test_a_run_that_a_release_of_another_format_had_begun_ends_with_that_reason(
    home: Home, workers: killing.Workers
) -> None:
    run = queue.submit(home, "long", reasons=("by hand",))
    began = wait_for(home, run.id, "train")
    (worker,) = workers.processes
    worker.send_signal(signal.SIGSTOP)  # so that it cannot notice what is done to its run
    with home.registry.engine.begin() as connection:
        change = (
            "UPDATE workflow_status SET application_version = '0', executor_id = 'old/1' WHERE workflow_uuid = :run"
        )
        connection.execute(text(change), {"run": run.id})
    home.registry.take_place(replace(OLD, process="elsewhere:1"), host="old", free=lambda _one: False)
    home.registry.hand_back(replace(OLD, id="old/1", process="elsewhere:1"))
    assert began.process is not None
    os.killpg(int(began.process.split(":")[1]), signal.SIGKILL)
    worker.wait(10)
    workers.processes = [workers.start()]
    (ended,) = killing.wait_for_all(home, [run.id], patience_s=30)
    assert ended.state == "failed"
    assert ended.failure is not None
    assert "begun in format 0" in ended.failure.what


def test_a_run_whose_model_is_taken_out_of_the_file_goes_on_and_one_that_waits_fails_with_that_reason(
    home: Home, folder: Path, workers: killing.Workers
) -> None:
    settings = folder / "springtide.toml"
    written = settings.read_text()
    running, waiting = (queue.submit(home, model, reasons=("by hand",)) for model in ("long", "m1"))
    wait_for(home, running.id, "train")
    settings.write_text(written.replace("[models.long", "[models.other").replace("[models.m1", "[models.another"))
    try:
        time.sleep(1)
        assert home.registry.run(running.id).state == "running"
        queue.cancel(home, running.id, by="a test")
        ended = killing.wait_for_all(home, [running.id, waiting.id], patience_s=60)
    finally:
        settings.write_text(written)
    assert [run.state for run in ended] == ["cancelled", "failed"]
    assert ended[1].failure is not None
    assert "there is no model 'm1'" in ended[1].failure.what


def test_a_worker_of_another_store_does_not_start_and_says_why(
    home: Home, folder: Path, workers: killing.Workers
) -> None:
    other = folder.parent / "other.toml"
    written = (folder / "springtide.toml").read_text()
    database = f"sqlite:///{folder}/var/springtide.db"
    other.write_text(written.replace("./var", "./elsewhere", 1).replace("sqlite:///var/springtide.db", database))
    command = [sys.executable, "-m", "springtide.app.work", "--config", str(other)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "the database belongs to another store" in done.stderr


def test_a_full_disk_holds_a_run_up_until_there_is_room(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here ({mounted.stderr.decode().strip()})")
    try:
        home = killing.make_home(tmp_path / "home", "sqlite:///springtide.db", store=str(disk), models=1)
        with killing.Workers(tmp_path / "home", count=1):
            wait_until = time.monotonic() + 60
            while not (disk / "store.txt").exists():  # the worker has come up
                assert time.monotonic() < wait_until
                time.sleep(0.1)
            filling = disk / "filling"
            with suppress(OSError), filling.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
            run = queue.submit(home, "m0", reasons=("by hand",))
            while not (told := [one for one in home.registry.events(run.id) if one.kind == "step_retried"]):
                assert not home.registry.run(run.id).ended, home.registry.run(run.id)
                time.sleep(0.1)
            filling.unlink()
            (ended,) = killing.wait_for_all(home, [run.id], patience_s=60)
        home.registry.engine.dispose()
        assert "space" in told[0].body["what"].lower() or "written" in told[0].body["what"]
        assert ended.state == "succeeded"
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
