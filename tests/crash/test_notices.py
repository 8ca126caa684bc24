"""Killed at any moment, a notice that was put into the outbox arrives."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from tests.receiver import receiving

from springtide.app.home import open_home, read_settings
from springtide.app.notifying import deliver, undelivered

if TYPE_CHECKING:
    from pathlib import Path

WORKER = """
import sys
from pathlib import Path
from springtide.app.home import open_home, read_settings
from springtide.app.notifying import announce, deliver
from springtide.domain.clock import utc_now
from springtide.domain.notice import Notice

home = open_home(read_settings(Path(sys.argv[1]), environ={}))
life, what = sys.argv[2:]
print("ready", flush=True)
for number in range(1000):
    name = f"{life}-{number}"
    announce(home, Notice(name, "kept", "t", "x", utc_now()))
    print(name, flush=True)
    if what == "deliver":
        deliver(home)
"""


def write_settings(folder: Path, url: str) -> Path:
    path = folder / "springtide.toml"
    secret = "a-secret-of-the-webhook"
    path.write_text(f'[[notify.webhooks]]\nurl = "{url}"\nsecret = "{secret}"\nallow_private = true\n')
    return path


def start(path: Path, life: str, what: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", WORKER, str(path), life, what]
    worker = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "ready\n"
    return worker


def test_killed_between_posting_and_delivery_nothing_is_lost(tmp_path: Path) -> None:
    with receiving() as receiver:
        path = write_settings(tmp_path, receiver.url)
        worker = start(path, "a", "post")
        assert worker.stdout is not None
        posted = [worker.stdout.readline().strip() for _ in range(3)]
        worker.kill()
        posted += worker.communicate()[0].split()
        assert worker.returncode == -signal.SIGKILL
        assert receiver.bodies == []
        home = open_home(read_settings(path, environ={}))
        while deliver(home):
            pass
        arrived = [json.loads(body)["id"] for body in receiver.bodies]
        assert set(posted) <= set(arrived)
        assert len(arrived) == len(set(arrived))


def test_killed_while_it_delivers_everything_arrives_and_at_most_one_notice_a_kill_comes_twice(tmp_path: Path) -> None:
    moments, lives = random.Random(5), 2
    posted: list[str] = []
    with receiving() as receiver:
        path = write_settings(tmp_path, receiver.url)
        for life in range(lives):
            worker = start(path, str(life), "deliver")
            assert worker.stdout is not None
            posted.append(worker.stdout.readline().strip())
            time.sleep(moments.uniform(0.0, 0.3))
            worker.kill()
            posted += worker.communicate()[0].split()
        home = open_home(read_settings(path, environ={}))
        while deliver(home):
            pass
        assert undelivered(home) == []
        arrived = [json.loads(body)["id"] for body in receiver.bodies]
        assert set(posted) <= set(arrived)
        assert len(arrived) - len(set(arrived)) <= lives
