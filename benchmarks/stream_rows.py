"""Rows per second from a broker into the lake, beside a bare consumer: ``PYTHONPATH=. python benchmarks/stream_rows.py``.

``[--protocols kafka nats] [--batches 4000] [--rows 100] [--together 500] [--rounds 3]``

The same messages (CSV) are read by three consumers in turn, each in a group of its own: a bare one that acknowledges and does nothing, one that checks and
parses, and one that writes what came together into the lake in one commit and acknowledges then. A speed is of what was handed over between the end of
the first delivery, which the client has ready, and the last acknowledgement; the figures are medians of the rounds, the least and the greatest.

The Kafka cluster is librdkafka's own, in this process; it forgets what is more than 5 MB in a partition.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from tests import stream_world as world
from tests.brokers import BROKERS, broker

from springtide.streams.broker import open_broker
from springtide.streams.consuming import Consumer, Inlet
from springtide.streams.messages import RowsMessage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from springtide.app.home import Home
    from springtide.streams.consuming import Delivery, Take
    from springtide.streams.messages import DeadMessage
    from springtide.streams.payloads import Payloads


def main() -> None:
    """Send, read three times a round, and print."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--protocols", nargs="+", default=["kafka", "nats"], choices=BROKERS)
    asked.add_argument("--batches", type=int, default=4000)
    asked.add_argument("--rows", type=int, default=100, help="of a batch")
    asked.add_argument("--together", type=int, default=500, help="most batches of a delivery")
    asked.add_argument("--rounds", type=int, default=3)
    options = asked.parse_args()
    for kind in options.protocols:
        with tempfile.TemporaryDirectory() as scratch, broker(kind, Path(scratch)) as url:
            home = world.make_home(Path(scratch) / "home", url)
            messages = [world.rows_message(number, options.rows, regions=64) for number in range(options.batches)]
            speeds: dict[str, list[float]] = {"bare": [], "parsed": [], "lake": []}
            for number in range(options.rounds):  # each round has a topic of its own
                prefix = f"round{number}"
                send(url, prefix, messages)
                for what, found in speeds.items():
                    take = taking(home, what, table=f"{prefix}-rows")
                    found.append(options.rows * asyncio.run(read(url, what, prefix, take, options)))
                stored = home.lake.table(f"{prefix}-rows")
                assert stored.scan().select(pl.len()).collect().item() == options.batches * options.rows
            report(kind, speeds, options.batches * options.rows, commits=stored.version() + 1)


def send(url: str, prefix: str, messages: Sequence[RowsMessage]) -> None:
    """Publish all messages."""

    async def publish() -> None:
        sender = open_broker(url, group="bench", prefix=prefix, together=1)
        await sender.start()
        for first in range(0, len(messages), 100):
            sent = [(world.as_sent(message)) for message in messages[first : first + 100]]
            await asyncio.gather(
                *(sender.publish(f"{prefix}.rows", body, key=key, message_id=name) for _, key, body, name in sent)
            )
        await sender.stop()

    asyncio.run(publish())


def taking(home: Home, what: str, *, table: str) -> Take:
    """What is done with a delivery."""

    async def bare(delivery: Delivery) -> None:
        await delivery.done()

    async def bury(letter: DeadMessage) -> None:
        raise AssertionError(letter.what)

    def handle(messages: Sequence[RowsMessage], payloads: Payloads) -> list[Exception | None]:
        rows = pl.concat([world.frame(payloads.read(message.data)) for message in messages])
        if what == "lake":
            home.lake.open(table).write(rows)
        return [None] * len(messages)

    consumer = Consumer(world.payloads_of(home), bury, patience_s=60)
    inlet = Inlet(table, RowsMessage, handle)
    return bare if what == "bare" else lambda delivery: consumer.take(inlet, delivery)


async def read(url: str, group: str, prefix: str, take: Take, options: argparse.Namespace) -> float:
    """Messages per second, from the end of the first delivery to the last acknowledgement."""
    reader = open_broker(url, group=group, prefix=prefix, together=options.together)
    began, first, count, ended = 0.0, 0, 0, asyncio.Event()

    async def timed(delivery: Delivery) -> None:
        nonlocal began, first, count
        await take(delivery)
        count += len(delivery.bodies)
        if not first:
            began, first = time.perf_counter(), count
        if count >= options.batches:
            ended.set()

    reader.read(f"{prefix}.rows", timed)
    await reader.start()
    running = asyncio.create_task(reader.run())
    await ended.wait()
    took = time.perf_counter() - began
    running.cancel()
    await reader.stop()
    return (count - first) / took


def report(kind: str, speeds: dict[str, list[float]], rows: int, *, commits: int) -> None:
    """Print rows per second."""
    print(f"{kind}: {rows:,} rows; {commits} commits")
    for what, found in speeds.items():
        middle, least, most = statistics.median(found), min(found), max(found)
        print(f"    {what:8}{middle:12,.0f} rows/s ({least:,.0f} to {most:,.0f})", flush=True)


if __name__ == "__main__":
    main()
