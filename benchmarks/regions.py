"""Many senders, one table: ``PYTHONPATH=. python benchmarks/regions.py [--data DATA] [--senders 85] [--kills 20]``.

Without DATA (the folder of the real sets) the counts are made up, in the same shape: 85 regions, 102 days, a batch a week. First
all batches are sent at once, by that many senders; then again into an empty table while the server is killed with -9; then all of
them once more. Nothing may be lost or counted twice. Last, how long a table that has had many commits takes to read, as it is
compacted by itself and as it would be without.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from tests.ports import free_port
from tests.regions_sending import Server, check, send_all
from tests.regions_world import NOW, Batch, counts, invented, make_config, make_home, table_as_sent, weekly

from springtide.app import intake
from springtide.app.regions import accept

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.regions_sending import Sending


def main() -> None:
    """Measure, check and print."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--data", type=Path)
    asked.add_argument("--senders", type=int, default=85)
    asked.add_argument("--kills", type=int, default=20)
    asked.add_argument("--commits", type=int, default=600)
    options = asked.parse_args()
    rows = invented(85, 102) if options.data is None else counts(options.data)
    batches = weekly(rows)
    print(f"{len(batches)} batches of {rows['region'].n_unique()} regions, {rows.height} rows")
    for kills in (0, options.kills):
        with tempfile.TemporaryDirectory() as folder:
            send(Path(folder), batches, rows, senders=options.senders, kills=kills)
    for every in (intake.COMPACT_EVERY, 10**9):
        with tempfile.TemporaryDirectory() as folder:
            read_after_many_commits(Path(folder), options.commits, every)


def send(folder: Path, batches: Sequence[Batch], rows: pl.DataFrame, *, senders: int, kills: int) -> None:
    """All batches, while the server is killed so often; then all once more."""
    port = free_port()
    config = make_config(folder, port=port)
    with Server(config, port) as server:
        began = time.monotonic()
        sending = send_all(server, batches, senders=senders, kills=kills, patience_s=3600)
        tell(f"{senders} senders, {kills} kills", sending, time.monotonic() - began)
        print("   ", ", ".join(f"{name} {count}" for name, count in check(config, batches, rows).items()))
        began = time.monotonic()
        again = send_all(server, batches, senders=senders)
        tell("all once more", again, time.monotonic() - began)
        assert again.repeated == len(batches)
        check(config, batches, rows)
    assert table_as_sent(make_home(folder)).equals(rows.sort("region", "date")), "the table is not what was sent"
    print("    the table equals what was sent")


def tell(title: str, sending: Sending, seconds: float) -> None:
    """One line."""
    times = pl.Series(sending.seconds)
    print(
        f"{title}: {len(times)} batches in {seconds:.1f} s, {len(times) / seconds:.0f} a second; answered in "
        f"{times.median():.3f} s (p99 {times.quantile(0.99):.3f} s); resent {sending.resent}, repeated {sending.repeated}",
        flush=True,
    )


def read_after_many_commits(folder: Path, commits: int, compact_every: int) -> None:
    """One batch a commit, as a single sender makes them; then the whole table is read."""
    intake.COMPACT_EVERY = compact_every
    home = make_home(folder)
    began = time.monotonic()
    for batch in weekly(invented(1, 7 * commits))[:commits]:
        accept(
            home, "covid", region=batch.region, batch=batch.name, data=batch.csv, form="csv", now=NOW.replace(year=2099)
        )
    home.intake.close()
    each = (time.monotonic() - began) / commits
    times = []
    for _ in range(5):
        began = time.monotonic()
        home.lake.table("covid").scan().collect()
        times.append(time.monotonic() - began)
    size = sum(file.stat().st_size for file in folder.rglob("*.parquet")) / 1e6
    word = f"compacted every {compact_every}" if compact_every < commits else "never compacted"
    print(
        f"{commits} commits, {word}: {each * 1e3:.0f} ms each; read in {min(times) * 1e3:.0f} ms; {size:.1f} MB of files"
    )
    shutil.rmtree(folder / "var")


if __name__ == "__main__":
    main()
