"""What a cell costs over the same command by hand: ``python benchmarks/sandbox.py [--rounds 20] [--socket unix:///run/podman/podman.sock]``.

``p50`` and ``p95`` of seconds from the call to the answer of ``python -c pass`` and of one import, by hand, by bubblewrap and, where a
socket is named, in a container; rounds alternate. ``looking`` is the share of a core that our own process takes while a cell does nothing, with a
hundred files in its folder.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING

from springtide.sandbox.bubblewrap import Bubblewrap
from springtide.sandbox.collecting import remove
from springtide.sandbox.container import Container
from springtide.sandbox.environments import Environments
from springtide.sandbox.seam import Cell, Limits

if TYPE_CHECKING:
    from springtide.sandbox.seam import Engine

LIMITS = Limits(memory=2 * 10**9, cpus=2, processes=64, disk=10**9, seconds=60, output=10**6)
SCRIPTS = {
    "nothing": "pass",
    "import numpy": "import numpy",
}


def by_hand(python: Path, script: str) -> float:
    began = time.perf_counter()
    subprocess.run([python, "-c", script], check=True, capture_output=True)
    return time.perf_counter() - began


def in_cell(engine: Engine, script: str, *, files: int = 0) -> float:
    work = Path(tempfile.mkdtemp(prefix="springtide-"))
    for number in range(files):
        (work / f"{number}").touch()
    began = time.perf_counter()
    cell = Cell("boosting", ("python", "-c", script), work, {})
    ended = engine.run(cell, LIMITS, on_line=print, stop=threading.Event())
    seconds = time.perf_counter() - began
    remove(work)
    if ended.reason != "finished":
        raise SystemExit(f"{ended.reason}: {ended.tail}")
    return seconds


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=20)
    options.add_argument("--socket", help="URL of a container engine")
    options.add_argument("--base-image", default="docker.io/library/python:3.13-slim-bookworm")
    options.add_argument("--build-network")
    options.add_argument("--environments", type=Path, default=Path("~/.cache/springtide/environments").expanduser())
    asked = options.parse_args()

    environments = Environments(asked.environments)
    engines: list[Engine] = [Bubblewrap(environments)]
    if asked.socket:
        engines.append(Container(asked.socket, base_image=asked.base_image, build_network=asked.build_network))
    for engine in engines:
        began = time.perf_counter()
        print(f"built {engine.build('boosting', None, lambda _: None)} in {time.perf_counter() - began:.1f} s")
    python = environments.find("boosting", None)[0] / "bin" / "python"

    for name, script in SCRIPTS.items():
        seconds: dict[str, list[float]] = {"by hand": [], **{engine.name: [] for engine in engines}}
        for _ in range(asked.rounds):
            seconds["by hand"].append(by_hand(python, script))
            for engine in engines:
                seconds[engine.name].append(in_cell(engine, script))
        hand = median(seconds["by hand"])
        for way, found in seconds.items():
            print(
                f"{name:16} {way:11} p50 {median(found):.3f} s, p95 {quantiles(found, n=20)[-1]:.3f} s, "
                f"over by hand {median(found) - hand:+.3f} s"
            )
    for engine in engines:
        began, used = time.perf_counter(), time.process_time()
        in_cell(engine, "import time\ntime.sleep(5)", files=100)
        share = (time.process_time() - used) / (time.perf_counter() - began)
        print(f"looking          {engine.name:11} {share:.1%} of a core")


if __name__ == "__main__":
    main()
