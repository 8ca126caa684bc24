"""The consumer killed with -9 in the middle of 10,000 batches: ``PYTHONPATH=. python benchmarks/stream_kills.py``.

``[--protocols kafka nats rabbit redis] [--batches 10000] [--kills 25]``

Every tenth batch is sent twice. The consumer's process is killed at random moments, most of them while it handles a delivery, and started again.
In the end every batch must have been counted once and every row must be in the lake once. Kafka is librdkafka's own cluster of three brokers in
this process; the others are servers that keep their data on the disk.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tests import stream_world as world
from tests.brokers import BROKERS, broker

ROWS = 5


def main() -> None:
    """Send, kill, check and print."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--protocols", nargs="+", default=list(BROKERS), choices=BROKERS)
    asked.add_argument("--batches", type=int, default=10_000)
    asked.add_argument("--kills", type=int, default=25, help="on each protocol")
    asked.add_argument("--together", type=int, default=50, help="messages of one delivery")
    asked.add_argument("--seed", type=int, default=1)
    options = asked.parse_args()
    for kind in options.protocols:
        with tempfile.TemporaryDirectory() as scratch, broker(kind, Path(scratch)) as url:
            folder = Path(scratch) / "home"
            home = world.make_home(folder, url, together=options.together)
            sent = [world.as_sent(world.rows_message(number, ROWS)) for number in range(options.batches)]
            sent += [world.as_sent(world.rows_message(number, ROWS), 2) for number in range(0, options.batches, 10)]
            world.send(home, sent)
            began = time.monotonic()
            killed = world.kill_many(home, folder, batches=options.batches, kills=options.kills, seed=options.seed)
            took = time.monotonic() - began
            left = world.start_consumer(folder)  # and what comes after the last kill
            time.sleep(20)
            left.terminate()
            left.wait(30)
            counts = world.tally(home, batches=options.batches, rows=ROWS)
            print(f"{kind}: {len(sent):,} messages, {killed} kills in {took:.0f} s")
            print("   ", ", ".join(f"{name} {count:,}" for name, count in counts.items()), flush=True)


if __name__ == "__main__":
    main()
