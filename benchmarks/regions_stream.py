"""Regions send their weeks over a stream: ``PYTHONPATH=. python benchmarks/regions_stream.py``.

``[--protocols nats kafka] [--kills 6] [--invented]``

The COVID counts of 85 Russian regions as weekly batches, every seventh sent twice; with ``--invented`` 10,000 batches of 100 regions. Server,
worker and consumer run as they do in production, and one of them is killed with -9 at random moments and started again. In the end the
table must equal what was sent, and every batch count once.
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
from tests.regions_sending import free_port
from tests.regions_world import counts, invented, make_config, make_home, table_as_sent, weekly

from springtide.app.regions import region_facts
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
            make_config(folder, more=more, port=free_port())
            messages = [
                RowsMessage(
                    table="covid", region=one.region, batch=one.name, form="csv", data=Payload(text=one.csv.decode())
                )
                for one in batches
            ]
            sent = [world.as_sent(one) for one in messages] + [world.as_sent(one, 2) for one in messages[::7]]
            world.send(home, sent)
            began = time.monotonic()
            killed = consume(home, folder, rows.height, kills=options.kills)
            seconds = time.monotonic() - began
            assert table_as_sent(home).equals(rows.sort("region", "date")), "the table is not the file"
            facts = region_facts(home, "covid")["regions"]
            counted = sum(one["batches"] for one in facts)
            print(
                f"{kind}: {len(sent)} messages, kills {dict(killed)}, {seconds:.0f} s; {len(facts)} regions, batches counted {counted} of {len(batches)}; the table equals the file"
            )


def consume(home: Home, folder: Path, rows: int, *, kills: int) -> Counter[str]:
    """Let all three work until all rows are there; kill one of them so often on the way. Which, and how often."""
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
            if there >= rows:
                time.sleep(15)  # what was sent twice comes too
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


def height(home: Home) -> int:
    """How many rows the table has."""
    try:
        return home.lake.table("covid").scan().collect().height
    except NotFound:
        return 0


if __name__ == "__main__":
    main()
