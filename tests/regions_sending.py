"""Many senders over HTTP, and a server that is killed while they send: each sends again until it is answered."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from springtide.app.home import open_home, read_settings
from springtide.app.regions import region_facts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import polars as pl
    from tests.regions_world import Batch

    from springtide.app.home import Home

CSV = {"content-type": "text/csv"}


@dataclass
class Server:
    """The server of a springtide.toml on a port of its own; started again after it was killed."""

    config: Path
    port: int
    process: subprocess.Popen[str] = field(init=False)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def url(self) -> str:
        """Where it is asked."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it can be asked."""
        command = [sys.executable, "-m", "springtide.api.main", "--config", str(self.config)]
        with (self.config.parent / "log").open("a") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline(), "the server has not started; see its log"

    def kill(self) -> None:
        """Kill -9, and start again."""
        self.end()
        self.start()

    def end(self) -> None:
        """Kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


@dataclass
class Sending:
    """What the senders were answered."""

    seconds: list[float] = field(default_factory=list)  # of each batch, until it was answered
    repeated: int = 0
    resent: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, client: httpx.Client, batch: Batch) -> None:
        """Send one batch until it is answered."""
        began = time.monotonic()
        asked = {"region": batch.region, "batch": batch.name}
        while True:
            try:
                answer = client.post("/v1/tables/covid/rows", params=asked, content=batch.csv, headers=CSV)
            except httpx.TransportError:
                with self.lock:
                    self.resent += 1
                time.sleep(0.1)
                continue
            assert answer.status_code == 200, answer.text
            with self.lock:
                self.seconds.append(time.monotonic() - began)
                self.repeated += answer.json()["repeated"]
            return


def send_all(
    server: Server, batches: Sequence[Batch], *, senders: int, kills: int = 0, seed: int = 1, patience_s: float = 300
) -> Sending:
    """Let every region send its batches in their order, `senders` of them at a time, while the server is killed."""
    sending, chance = Sending(), random.Random(seed)
    by_region: dict[str, list[Batch]] = defaultdict(list)
    for batch in batches:
        by_region[batch.region].append(batch)
    deadline = time.monotonic() + patience_s

    def send_region(some: Sequence[Batch]) -> None:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            for batch in some:
                sending.send(client, batch)

    with ThreadPoolExecutor(senders) as pool:
        regions = [pool.submit(send_region, some) for some in by_region.values()]
        for kill in range(1, kills + 1):
            while len(sending.seconds) < kill * len(batches) // (kills + 1) and not all(one.done() for one in regions):
                assert time.monotonic() < deadline, "the senders are not answered"
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.1))
            server.kill()
        for one in regions:
            one.result()
    return sending


def check(config: Path, batches: Sequence[Batch], rows: pl.DataFrame) -> dict[str, Any]:
    """What has to hold when everything was answered; the counts that people want to see."""
    home = open_home(read_settings(config, environ={}))
    facts = region_facts(home, "covid")["regions"]
    table = home.lake.table("covid").scan().collect()
    counts = {
        "batches lost": len(batches) - sum(one["batches"] for one in facts),
        "batches counted twice": _stored_twice(home),
        "rows lost": rows.height - table.height,
        "rows twice": int((~table.select("unique_id", "ds").is_unique()).sum()),
        "commits": home.lake.table("covid").version() + 1,
    }
    assert {name: count for name, count in counts.items() if name != "commits" and count} == {}
    assert sum(one["rows"] for one in facts) == rows.height
    return counts


def _stored_twice(home: Home) -> int:
    """By the commits, which are the truth."""
    told = home.lake.table("covid").parcels_after(-1)
    names = [(one["region"], one["batch"]) for parcels in told for one in parcels.facts]
    return len(names) - len(set(names))
