"""A home that takes rows from a broker, its consumer as a process, and a count of what became of every batch."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from springtide.app.home import Home, open_home, read_settings
from springtide.app.streams.sending import payloads_of
from springtide.domain.rows import KEY
from springtide.streams.broker import open_broker
from springtide.streams.messages import Payload, RowsMessage, encode

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "as_sent",
    "counted",
    "frame",
    "kill_many",
    "make_home",
    "payloads_of",
    "rows_message",
    "send",
    "start_consumer",
    "tally",
]

START = datetime(2020, 9, 13, tzinfo=UTC)
ROOT = Path(__file__).parent.parent
TABLE = """\
[sources.counts]
kind = "rows"
values = { y = "number" }
"""


def make_home(folder: Path, url: str, *, together: int = 500, more: str = "") -> Home:
    """A home on a broker, whose table counts takes rows."""
    folder.mkdir(exist_ok=True)
    text = f'[streams]\nurl = "{url}"\ntogether = {together}\n{TABLE}{more}'
    (folder / "springtide.toml").write_text(text, encoding="utf-8")
    return open_home(read_settings(folder / "springtide.toml", environ={}))


def rows_message(number: int, rows: int = 5, *, table: str = "counts", regions: int = 7) -> RowsMessage:
    """Batch `number`: rows that no other batch has."""
    region = f"region{number % regions}"
    first = number * rows
    lines = [f"{START + timedelta(seconds=first + row):%Y-%m-%dT%H:%M:%SZ},{first + row}.5" for row in range(rows)]
    text = "ds,y\n" + "\n".join(lines) + "\n"
    return RowsMessage(table=table, region=region, batch=f"b{number}", form="csv", data=Payload(text=text))


def frame(data: bytes) -> pl.DataFrame:
    """The rows of a message."""
    read = pl.read_csv(data, schema={"ds": pl.String(), "y": pl.Float64()})
    return read.select(
        pl.lit("r").alias("unique_id"), pl.col("ds").str.to_datetime(time_unit="us", time_zone="UTC"), "y"
    )


def start_consumer(folder: Path) -> subprocess.Popen[bytes]:
    """The consumer's process, as it runs in production."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "springtide.app.streaming", "--config", str(folder / "springtide.toml")]
    with (folder / "consumer.log").open("ab") as log:
        return subprocess.Popen(words, env=environment, stdout=log, stderr=log, start_new_session=True)


def send(home: Home, bodies: Iterable[tuple[str, str, bytes, str]]) -> None:
    """Publish messages, given as topic, key, body and id, in their order; many are on their way at once."""
    settings = home.settings.streams
    assert settings.url is not None
    url = settings.url.get_secret_value()

    async def publish() -> None:
        broker = open_broker(url, group=settings.group, prefix=settings.prefix, together=settings.together)
        await broker.start()
        waiting = list(bodies)
        for first in range(0, len(waiting), 250):
            await asyncio.gather(
                *(
                    broker.publish(f"{settings.prefix}.{name}", body, key=key, message_id=name_of_it)
                    for name, key, body, name_of_it in waiting[first : first + 250]
                )
            )
        await broker.stop()

    asyncio.run(publish())


def as_sent(message: RowsMessage, turn: int = 1) -> tuple[str, str, bytes, str]:
    """What `send` takes; sent for the second time a message has another id, as from a sender that forgets."""
    return (
        "rows",
        message.key,
        encode(message),
        f"{message.table}/{message.region}/{message.batch}#{turn}",
    )


def kill_many(home: Home, folder: Path, *, batches: int, kills: int, seed: int, patience_s: float = 600) -> int:
    """Kill the consumer with -9 at random moments until all batches are counted, and start it again; how many kills."""
    chance, killed, deadline = random.Random(seed), 0, time.monotonic() + patience_s
    process = start_consumer(folder)
    try:
        while (now := counted(home)) < batches:
            until = min(batches, now + chance.randint(1, max(1, 2 * batches // (kills + 1))))
            while counted(home) < until:
                assert time.monotonic() < deadline, (folder / "consumer.log").read_text()[-3000:]
                assert process.poll() is None, (folder / "consumer.log").read_text()[-3000:]
                time.sleep(0.01)
            if killed < kills:
                time.sleep(chance.uniform(0, 0.05))
                process.kill()
                process.wait()
                killed += 1
                process = start_consumer(folder)
    finally:
        process.terminate()
        process.wait(30)
    return killed


def counted(home: Home) -> int:
    """How many batches have been counted."""
    return sum(one.batches for one in home.registry.regions("counts"))


def tally(home: Home, *, batches: int, rows: int) -> dict[str, int]:
    """What became of the batches, by the commits of the table, which are the truth."""
    table = home.lake.table("counts")
    stored = table.scan().select("unique_id", "ds").collect()
    names = [(one["region"], one["batch"]) for parcels in table.parcels_after(-1) for one in parcels.facts]
    return {
        "batches": batches,
        "batches lost": batches - len(set(names)),
        "batches stored twice": len(names) - len(set(names)),
        "batches counted wrong": abs(counted(home) - len(set(names))),
        "rows lost": batches * rows - stored.unique(KEY).height,
        "rows twice": stored.height - stored.unique(KEY).height,
        "came again": sum(one.repeated for one in home.registry.regions("counts")),
        "commits": table.version() + 1,
    }
