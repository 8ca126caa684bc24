"""From asking for a run to its first step, on an idle worker: ``PYTHONPATH=. python benchmarks/submit.py [--runs 50]``.

The model has too few rows, so that every run fails in its second step: what is measured is the way there. Beside it, in the same
process and on the same machine, a task that does nothing through Celery and Redis (in an environment of its own; left out where there is no
`redis-server`): from `delay` to the task's first line. The worker asks the queue every 0.1 s.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tests import killing
from tests.databases import postgres_server

from springtide.app import queue

if TYPE_CHECKING:
    from springtide.app.home import Home

PINS = ("celery==5.6.3", "redis==6.4.0", "packaging==26.3")
TASKS = """\
import time
from celery import Celery
app = Celery("peer", broker="redis://127.0.0.1:{port}/0", backend="redis://127.0.0.1:{port}/1")

@app.task
def begun():
    return time.time()
"""
ASK = """\
import json, sys, time
from peer import begun
begun.delay().get(timeout=30)
found = []
for _ in range(int(sys.argv[1])):
    time.sleep(0.13)
    asked = time.time()
    found.append(begun.delay().get(timeout=30) - asked)
print(json.dumps(found))
"""


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--runs", type=int, default=50)
    asked.add_argument("--peers", type=Path, default=Path.home() / ".cache" / "springtide" / "celery")
    options = asked.parse_args()
    print(f"{'':<28}{'p50 ms':>8}{'p99 ms':>8}{'most':>8}")
    for kind in ("sqlite", "postgresql"):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            url = "sqlite:///var/springtide.db"
            if kind == "postgresql":
                url = stack.enter_context(postgres_server(folder / "postgres"))
            home = killing.make_home(folder / "home", url, models=1)
            (folder / "home" / "rows" / "first.csv").write_text(killing.csv(0, 40))
            stack.enter_context(killing.Workers(folder / "home", count=1))
            show(f"springtide on {kind}", springtide(home, options.runs))
            home.registry.engine.dispose()
    if shutil.which("redis-server") is None:
        print("Celery and Redis: left out, there is no redis-server")
    else:
        show("a no-op of Celery and Redis", celery(options.peers, options.runs))


def springtide(home: Home, count: int) -> list[float]:
    """Seconds from each submission to its first step."""
    found = []
    for number in range(count + 1):
        time.sleep(0.13)  # not in step with the worker's looks
        asked = time.time()
        run = queue.submit(home, "m0", reasons=("a benchmark",))
        (ended,) = killing.wait_for_all(home, [run.id], patience_s=60)
        assert ended.failure is not None
        assert ended.steps, ended
        if number:  # the first waits for the worker to start
            found.append(ended.steps[0].started.timestamp() - asked)
    return found


def celery(peers: Path, count: int) -> list[float]:
    """The same for a task that does nothing."""
    python, stamp = peers / "bin" / "python", peers / "pins.txt"
    if not stamp.exists() or stamp.read_text() != "\n".join(PINS):
        subprocess.run([sys.executable, "-m", "venv", peers], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PINS], check=True)
        stamp.write_text("\n".join(PINS))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "peer.py").write_text(TASKS.format(port=port))
        redis = subprocess.Popen(
            ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""], stdout=subprocess.DEVNULL
        )
        worker = subprocess.Popen(
            [python, "-m", "celery", "-A", "peer", "worker", "-c", "1", "--loglevel", "ERROR"],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            time.sleep(5)
            done = subprocess.run(
                [python, "-c", ASK, str(count)], cwd=folder, capture_output=True, text=True, check=True, timeout=300
            )
        finally:
            for process in (worker, redis):
                process.terminate()
                process.wait()

    return [float(one) for one in json.loads(done.stdout)]


def show(name: str, seconds: list[float]) -> None:
    """A line of the table."""
    ranked = sorted(1000 * one for one in seconds)
    print(
        f"{name:<28}{statistics.median(ranked):>8.1f}{ranked[min(len(ranked) - 1, int(0.99 * len(ranked)))]:>8.1f}{ranked[-1]:>8.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
