"""Killed at any moment, the registry holds whole versions only, and the champion always has its files."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, text
from tests.databases import postgres_server

from springtide.registry.blobs import Blobs
from springtide.registry.database import open_database, writing
from springtide.registry.migrate import migrate
from springtide.registry.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

WORKER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from springtide.domain.model import Manifest
from springtide.domain.rows import Filter, Snapshot
from springtide.domain.verdict import Verdict
from springtide.registry.blobs import Blobs
from springtide.registry.database import open_database
from springtide.registry.registry import Registry

url, store, export, life, count = sys.argv[1:]
registry = Registry(open_database(url), Blobs(store))
now = datetime.now(UTC)
snapshot = Snapshot("binance", 1, Filter(), 10, "ab" * 32, now, now)
verdict = Verdict(True, "-", "better", "mae", 10, 0.1, ())
registry.champions()
print("ready", flush=True)
for turn in range(int(count)):
    run = f"{life}-{turn}"
    folder = Path(export)
    (folder / "model.onnx").write_bytes(run.encode() * 20_000)
    (folder / "probe.npz").write_bytes(b"the same for all")
    manifest = Manifest("btc", "forecast", run, now, "0", snapshot, {}, {}, {}, {"model.onnx": "", "probe.npz": ""})
    version = registry.publish(manifest, folder, verdict)
    registry.promote("btc", version.number, run=run, by="worker", reason="-", at=now)
    if turn % 3 == 2:
        registry.rollback("btc", by="worker", reason="-", at=now)
    registry.retain("btc", 2)
"""

SPENDER = """
import sys
from springtide.registry.blobs import Blobs
from springtide.registry.database import open_database
from springtide.registry.registry import Registry

registry = Registry(open_database(sys.argv[1]), Blobs(sys.argv[2]))
registry.models()
print("ready", flush=True)
while True:
    registry.spend_call("CoinGecko demo", "2024-03", limit=10**6)
    print("sent", flush=True)
"""


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server; yields the URL of its first database."""
    with postgres_server(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of its own for every test, migrated."""
    made = f"sqlite:///{tmp_path}/springtide.db"
    if request.param == "postgres":
        server = str(request.getfixturevalue("postgres"))
        name = f"t{time.monotonic_ns()}"
        admin = create_engine(server.replace("postgresql", "postgresql+psycopg"), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        admin.dispose()
        made = server.replace("/postgres?", f"/{name}?")
    migrate(made)
    return made


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    made = open_database(url)
    yield made
    made.dispose()


@pytest.fixture
def registry(engine: Engine, tmp_path: Path) -> Registry:
    return Registry(engine, Blobs(str(tmp_path / "models")))


def start(url: str, tmp_path: Path, *, life: str, count: int = 10_000) -> subprocess.Popen[str]:
    """A worker that publishes, promotes, rolls back and retains; returns when it is about to begin."""
    export = tmp_path / "export"
    export.mkdir(exist_ok=True)
    words = [url, str(tmp_path / "models"), str(export), life, str(count)]
    worker = subprocess.Popen([sys.executable, "-c", WORKER, *words], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "ready\n"
    return worker


def kill(worker: subprocess.Popen[str]) -> None:
    worker.kill()
    worker.communicate()
    assert worker.returncode == -signal.SIGKILL


def check(registry: Registry) -> None:
    """What must hold whenever anybody looks."""
    versions = registry.versions("btc")
    assert [v.number for v in versions] == list(range(len(versions), 0, -1))
    entries = registry.journal("btc")
    assert [e.number for e in entries] == list(range(len(entries), 0, -1))
    champion = registry.champion("btc")
    assert (champion and champion.number) == (entries[0].serving if entries else None)
    promoted = [e.run for e in entries if e.action == "promote"]
    assert len(promoted) == len(set(promoted))
    for version in {v.number: v for v in [*versions[:1], *([champion] if champion else [])]}.values():
        for name in version.manifest.files:
            registry.read(version, name)


def test_killed_between_upload_and_commit_a_version_is_not_there_and_the_run_publishes_it_later(
    url: str, engine: Engine, registry: Registry, tmp_path: Path
) -> None:
    blobs = Blobs(str(tmp_path / "models"))
    with writing(engine):  # the worker uploads, then waits for its turn to commit
        worker = start(url, tmp_path, life="a", count=1)
        while len(blobs.names()) < 2:
            time.sleep(0.01)
        time.sleep(0.05)
        kill(worker)
    assert registry.versions("btc") == []
    again = start(url, tmp_path, life="a", count=1)
    assert again.wait(30) == 0
    again.communicate()
    assert [v.manifest.run for v in registry.versions("btc")] == ["a-0"]
    check(registry)


def test_killed_at_random_moments_nothing_is_half_there_or_there_twice(
    url: str, registry: Registry, tmp_path: Path
) -> None:
    moments = random.Random(7)
    for life in range(5):
        worker = start(url, tmp_path, life=str(life))
        time.sleep(moments.uniform(0.01, 0.25))
        kill(worker)
        check(registry)
    assert len(registry.versions("btc")) > 5


def test_a_call_that_was_sent_is_counted_though_its_process_was_killed(
    url: str, registry: Registry, tmp_path: Path
) -> None:
    moments, lives, sent = random.Random(3), 4, 0
    for _ in range(lives):
        spender = subprocess.Popen(
            [sys.executable, "-c", SPENDER, url, str(tmp_path / "models")], stdout=subprocess.PIPE, text=True
        )
        assert spender.stdout is not None
        assert [spender.stdout.readline() for _ in range(2)] == ["ready\n", "sent\n"]
        time.sleep(moments.uniform(0.0, 0.1))
        spender.kill()
        sent += 1 + spender.communicate()[0].count("sent")
    left = registry.spend_call("CoinGecko demo", "2024-03", limit=10**6)
    assert left is not None
    counted = 10**6 - left - 1
    assert sent <= counted <= sent + lives  # a kill between counting and sending costs a call, never the other way
