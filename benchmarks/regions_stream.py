"""Regions send their weeks over a stream: ``PYTHONPATH=. python benchmarks/regions_stream.py``.

``[--protocols nats kafka] [--kills 6] [--invented]``

The COVID counts of 85 Russian regions as weekly batches, every seventh sent twice; with ``--invented`` 10,000 batches of 100 regions. Server,
worker and consumer run as they do in production, and one of them is killed with -9 at random moments and started again. In the end the
table must equal what was sent, and every batch stand in one commit, which is what says that it counts.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from tests import stream_world as world
from tests.brokers import BROKERS, broker
from tests.ports import free_port
from tests.regions_sending import check
from tests.regions_world import counts, invented, make_config, make_home, table_as_sent, weekly

from springtide.domain.errors import NotFound
from springtide.streams.messages import Payload, RowsMessage

if TYPE_CHECKING:
    from springtide.app.home import Home


def main() -> None:
    """Send, kill, compare and print."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--data", type=Path, default=Path(os.environ.get("SPRINGTIDE_DATA", "../shared/data")))
    asked.add_argument("--protocols", nargs="+", default=["nats", "kafka"], choices=BROKERS)
    asked.add_argument("--kills", type=int, default=6)
    asked.add_argument("--invented", action="store_true", help="10,000 batches")
    options = asked.parse_args()
    rows = invented(100, 700) if options.invented else counts(options.data)
    batches = weekly(rows)
    for kind in options.protocols:
        with tempfile.TemporaryDirectory() as scratch, broker(kind, Path(scratch)) as url:
            folder = Path(scratch) / "home"
            folder.mkdir()
            more = f'[streams]\nurl = "{url}"\ntogether = 100\n'
            home = make_home(folder, more=more)
            config = make_config(folder, more=more, port=free_port())
            messages = [
                RowsMessage(
                    table="covid", region=one.region, batch=one.name, form="csv", data=Payload(text=one.csv.decode())
                )
                for one in batches
            ]
            twice = messages[::7]
            world.send(home, [world.as_sent(one) for one in messages] + [world.as_sent(one, 2) for one in twice])
            began = time.monotonic()
            killed = consume(home, folder, rows.height, twice=len(twice), kills=options.kills)
            seconds = time.monotonic() - began
            assert table_as_sent(home).equals(rows.sort("region", "date")), "the table is not the file"
            assert killed.total() == options.kills, f"only {killed.total()} were killed: send more"
            counted = check(config, batches, rows)
            again = repeated(home)
            assert again >= len(twice), f"{again} batches came again, {len(twice)} were sent twice"
            print(
                f"{kind}: {len(messages) + len(twice)} messages, kills {dict(killed)}, {seconds:.0f} s; {len(batches)} batches; {again} came again; {counted}; the table equals the file"
            )


def consume(home: Home, folder: Path, rows: int, *, twice: int, kills: int) -> Counter[str]:
    """Let all three work until all rows are there, and what was sent twice too; which were killed on the way, how often."""
    chance, killed = random.Random(1), Counter[str]()
    programs = {
        "consumer": "springtide.app.streaming",
        "server": "springtide.api.main",
        "worker": "springtide.app.work",
    }
    processes = {name: start(folder, module) for name, module in programs.items()}
    deadline = time.monotonic() + 1500
    try:
        while True:
            assert time.monotonic() < deadline
            time.sleep(chance.uniform(2, 6))
            there = height(home)
            if there >= rows and repeated(home) >= twice:
                time.sleep(5)  # whatever else may come
                return killed
            if killed.total() < kills and there:
                name = ("consumer", "server", "consumer", "worker")[killed.total() % 4]
                processes[name].kill()
                processes[name].wait()
                killed[name] += 1
                processes[name] = start(folder, programs[name])
    finally:
        for process in processes.values():
            process.terminate()
            process.wait(30)


def start(folder: Path, module: str) -> subprocess.Popen[bytes]:
    """One of the programs."""
    command = [sys.executable, "-m", module, "--config", str(folder / "springtide.toml")]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)


def repeated(home: Home) -> int:
    """How many batches have come again."""
    return sum(one.repeated for one in home.registry.regions("covid"))


def height(home: Home) -> int:
    """How many rows the table has."""
    try:
        return home.lake.table("covid").scan().collect().height
    except NotFound:
        return 0


if __name__ == "__main__":
    main()
