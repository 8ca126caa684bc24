"""A home that takes rows from a broker, its consumer as a process, and a count of what became of every batch."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from springtide.app.home import Home, open_home, read_settings
from springtide.app.streaming import Handlers, payloads_of, run
from springtide.domain.rows import KEY
from springtide.streams.broker import open_broker
from springtide.streams.messages import Payload, RowsMessage, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

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

ROOT = Path(__file__).parent.parent
LEDGER = "ledger.db"


def make_home(folder: Path, url: str, *, together: int = 500, more: str = "") -> Home:
    """A home on a broker."""
    folder.mkdir(exist_ok=True)
    text = f'[streams]\nurl = "{url}"\ntogether = {together}\n{more}'
    (folder / "springtide.toml").write_text(text, encoding="utf-8")
    with closing(sqlite3.connect(folder / LEDGER)) as ledger, ledger:
        ledger.execute("PRAGMA journal_mode=WAL")
        ledger.execute("CREATE TABLE IF NOT EXISTS counted (batch TEXT PRIMARY KEY, rows INTEGER)")
        ledger.execute("CREATE TABLE IF NOT EXISTS came (batch TEXT)")
    return open_home(read_settings(folder / "springtide.toml", environ={}))


def rows_message(number: int, rows: int = 5, *, table: str = "counts", regions: int = 7) -> RowsMessage:
    """Batch `number`: rows that no other batch has."""
    region = f"region{number % regions}"
    first = number * rows
    lines = [f"{region},{1_600_000_000 + first + row},{first + row}.5" for row in range(rows)]
    text = "unique_id,ds,y\n" + "\n".join(lines) + "\n"
    return RowsMessage(table=table, region=region, batch=f"b{number}", form="csv", data=Payload(text=text))


def frame(data: bytes) -> pl.DataFrame:
    """The rows of a message."""
    read = pl.read_csv(data, schema={"unique_id": pl.String(), "ds": pl.Int64(), "y": pl.Float64()})
    return read.with_columns(pl.from_epoch("ds").dt.replace_time_zone("UTC").dt.cast_time_unit("us"))


def counting(home: Home, ledger: Path) -> Handlers:
    """Rows of messages that came together go into the lake in one commit, and every batch is counted once."""

    def handle(messages: Sequence[RowsMessage], read: Callable[[Payload], bytes]) -> list[Exception | None]:
        with closing(sqlite3.connect(ledger, timeout=30)) as book, book:
            book.executemany("INSERT INTO came VALUES (?)", [(message.batch,) for message in messages])
        frames = [frame(read(message.data)) for message in messages]
        rows = pl.concat(frames).unique(maintain_order=True)
        home.lake.open(messages[0].table, step_s=None).write(rows)
        with closing(sqlite3.connect(ledger, timeout=30)) as book, book:
            for message, one in zip(messages, frames, strict=True):
                book.execute("INSERT OR IGNORE INTO counted VALUES (?, ?)", (message.batch, one.height))
        return [None] * len(messages)

    return Handlers(rows=handle)


def start_consumer(folder: Path) -> subprocess.Popen[bytes]:
    """The consumer's process with the handlers of this module."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "tests.stream_world", str(folder / "springtide.toml")]
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
        f"{message.table}/{message.region}",
        encode(message),
        f"{message.table}/{message.region}/{message.batch}#{turn}",
    )


def kill_many(folder: Path, *, batches: int, kills: int, seed: int, patience_s: float = 600) -> int:
    """Kill the consumer with -9 at random moments until all batches are counted, and start it again; how many kills."""
    chance, killed, deadline = random.Random(seed), 0, time.monotonic() + patience_s
    process = start_consumer(folder)
    try:
        while (now := counted(folder)) < batches:
            until = min(batches, now + chance.randint(1, max(1, 2 * batches // (kills + 1))))
            while counted(folder) < until:
                assert time.monotonic() < deadline, (folder / "consumer.log").read_text()[-3000:]
                assert process.poll() is None, (folder / "consumer.log").read_text()[-3000:]
                time.sleep(0.002)
            if killed < kills:
                time.sleep(chance.uniform(0, 0.2))
                process.kill()
                process.wait()
                killed += 1
                process = start_consumer(folder)
    finally:
        process.terminate()
        process.wait(30)
    return killed


def counted(folder: Path) -> int:
    """How many batches have been counted."""
    return int(_ask(folder, "SELECT count(*) FROM counted"))


def tally(home: Home, folder: Path, *, batches: int, rows: int, table: str = "counts") -> dict[str, int]:
    """What became of the batches."""
    stored = home.lake.table(table).scan().select("unique_id", "ds").collect()
    return {
        "batches": batches,
        "batches lost": batches - counted(folder),
        "batches counted twice": int(_ask(folder, "SELECT count(*) - count(DISTINCT batch) FROM counted")),
        "rows lost": batches * rows - stored.unique(KEY).height,
        "rows twice": stored.height - stored.unique(KEY).height,
        "begun again": int(_ask(folder, "SELECT count(*) FROM came")) - counted(folder),
        "commits": home.lake.table(table).version() + 1,
    }


def _ask(folder: Path, question: str) -> float:
    with closing(sqlite3.connect(folder / LEDGER, timeout=30)) as ledger:
        return float(ledger.execute(question).fetchone()[0])


if __name__ == "__main__":
    config = Path(sys.argv[1])
    sys.exit(run(config, lambda home: counting(home, config.parent / LEDGER)))
