"""One contract for both databases and both stores: what the registry promises."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine, create_engine, exc, text
from tests.databases import postgres_server

from springtide.domain.errors import Conflict, ModelRefused, NotFound, NotReady, SettingsError
from springtide.domain.model import Manifest
from springtide.domain.notice import Notice
from springtide.domain.recipe import FoundRecipe
from springtide.domain.regions import Receipt, RegionFacts, RejectedRow
from springtide.domain.rows import Filter, Snapshot
from springtide.domain.run import Failure, Run, Step
from springtide.domain.trigger import TriggerState
from springtide.domain.verdict import Comparison, Verdict
from springtide.registry.blobs import Blobs
from springtide.registry.database import open_database, writing
from springtide.registry.migrate import migrate
from springtide.registry.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from springtide.domain.model import JournalEntry, Version

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
VERDICT = Verdict(
    promote=True,
    reason="beats every rival",
    rule="significant",
    loss_name="pinball",
    items=500,
    loss=0.01,
    comparisons=(Comparison("last-value", "baseline", 0.012, 0.16, 0.003, passed=True),),
)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server; yields the URL of its first database. The database ``migrated`` is there to be copied."""
    with postgres_server(tmp_path_factory.mktemp("postgres")) as url:
        command(url, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()", "CREATE DATABASE migrated")
        migrate(url.replace("/postgres?", "/migrated?"))
        yield url


def command(url: str, *statements: str) -> None:
    """What an administrator types, outside of any transaction."""
    admin = create_engine(url.replace("postgresql", "postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    admin.dispose()


@pytest.fixture(scope="module")
def s3(s3_server: str) -> dict[str, str]:
    """The options to reach a real S3 server on loopback with the bucket ``models``."""
    return {
        "endpoint_url": s3_server,
        "allow_http": "true",
        "region": "us-east-1",
        "access_key_id": "key",
        "secret_access_key": "secret",
    }


@pytest.fixture(params=["sqlite and a folder", "postgres and s3"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of its own for every test, migrated."""
    if kind.startswith("postgres"):
        server = str(request.getfixturevalue("postgres"))
        name = f"t{time.monotonic_ns()}"
        command(server, f"CREATE DATABASE {name} TEMPLATE migrated")
        return server.replace("/postgres?", f"/{name}?")
    made = f"sqlite:///{tmp_path}/var/springtide.db"
    migrate(made)
    return made


@pytest.fixture
def blobs(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    if kind.startswith("postgres"):
        return Blobs(f"s3://models/{tmp_path.name}", request.getfixturevalue("s3"))
    return Blobs(str(tmp_path / "models"))


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    made = open_database(url)
    yield made
    made.dispose()


@pytest.fixture
def registry(engine: Engine, blobs: Blobs) -> Registry:
    return Registry(engine, blobs)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An exported model: two files."""
    made = tmp_path / "export"
    made.mkdir()
    (made / "model.onnx").write_bytes(b"weights")
    (made / "probe.npz").write_bytes(b"probe")
    return made


def manifest(run: str, **words: Any) -> Manifest:
    snapshot = Snapshot("binance", 7, Filter(("BTC/USDT",), end=NOON), 1000, "ab" * 32, NOON - timedelta(days=9), NOON)
    plain: dict[str, Any] = {
        "model": "btc",
        "task": "forecast",
        "created": NOON,
        "code": "0.1.0",
        "snapshot": snapshot,
        "recipe": {"horizon": 24, "levels": [0.1, 0.9]},
        "signature": {"inputs": ["window"]},
        "metrics": {"pinball": 0.01},
        "files": {"model.onnx": "", "probe.npz": ""},
    }
    return Manifest(run=run, **plain | words)


def publish(registry: Registry, folder: Path, run: str, *, weights: bytes | None = None, **words: Any) -> Version:
    """A version whose weights are its own."""
    (folder / "model.onnx").write_bytes(weights or run.encode())
    return registry.publish(manifest(run, **words), folder, VERDICT)


def promote(registry: Registry, number: int, **words: Any) -> JournalEntry:
    said: dict[str, Any] = {"run": f"run-{number}", "by": "pipeline", "reason": "beats every rival", "at": NOON}
    return registry.promote("btc", number, **said | words)


def roll_back(registry: Registry, **words: Any) -> JournalEntry:
    return registry.rollback("btc", **{"by": "ann", "reason": "live skill fell", "at": NOON} | words)


def publish_and_promote(registry: Registry, folder: Path, count: int) -> None:
    for number in range(1, count + 1):
        publish(registry, folder, f"run-{number}")
        promote(registry, number)


# Versions


def test_a_published_version_comes_back_as_it_went_in(registry: Registry, folder: Path) -> None:
    version = publish(registry, folder, "run-1")
    assert version.name == "btc@1"
    assert version.verdict == VERDICT
    assert replace(version.manifest, files=manifest("run-1").files) == manifest("run-1")
    assert registry.version("btc", 1) == version
    assert registry.read(version, "model.onnx") == b"run-1"


def test_versions_are_numbered_from_one_within_a_model_and_listed_newest_first(
    registry: Registry, folder: Path
) -> None:
    for run in ("a", "b"):
        publish(registry, folder, run)
    publish(registry, folder, "c", model="eth")
    assert [v.name for v in registry.versions("btc")] == ["btc@2", "btc@1"]
    assert [v.name for v in registry.versions("eth")] == ["eth@1"]
    assert registry.models() == ["btc", "eth"]


def test_a_run_that_publishes_again_gets_the_version_that_it_made(registry: Registry, folder: Path) -> None:
    first = publish(registry, folder, "run-1", weights=b"first")
    again = publish(registry, folder, "run-1", weights=b"trained once more")
    assert again == first
    assert len(registry.versions("btc")) == 1
    assert registry.read(again, "model.onnx") == b"first"


def test_one_run_cannot_publish_for_two_models(registry: Registry, folder: Path) -> None:
    publish(registry, folder, "run-1")
    with pytest.raises(Conflict, match="run run-1 has published btc@1"):
        publish(registry, folder, "run-1", model="eth")


def test_a_manifest_that_names_no_file_publishes_all_in_the_folder(registry: Registry, folder: Path) -> None:
    assert sorted(publish(registry, folder, "run-1", files={}).manifest.files) == ["model.onnx", "probe.npz"]


@pytest.mark.parametrize("name", ["scaler.json", "../secret", "/etc/passwd"])
def test_a_file_outside_the_export_is_refused_before_anything_is_stored(
    registry: Registry, blobs: Blobs, folder: Path, name: str
) -> None:
    (folder.parent / "secret").write_bytes(b"not for publishing")
    with pytest.raises(ModelRefused, match="not a file of its export"):
        publish(registry, folder, "run-1", files={"model.onnx": "", name: ""})
    assert registry.models() == []
    assert blobs.names() == set()


def test_a_file_that_changed_since_its_digest_was_taken_is_refused(registry: Registry, folder: Path) -> None:
    with pytest.raises(ModelRefused, match=r"model\.onnx of run run-1 has changed"):
        publish(registry, folder, "run-1", files={"model.onnx": "00" * 32})
    assert registry.models() == []


def test_a_name_is_a_version_or_the_champion(registry: Registry, folder: Path) -> None:
    publish_and_promote(registry, folder, 1)
    publish(registry, folder, "run-2")
    assert registry.resolve("btc@2").number == 2
    assert registry.resolve("btc").number == 1
    with pytest.raises(NotReady, match="no version of 'eth' serves"):
        registry.resolve("eth")
    with pytest.raises(SettingsError, match="write MODEL or MODEL@NUMBER"):
        registry.resolve("btc@latest")


def test_a_version_that_does_not_exist_is_not_found_and_the_error_says_what_exists(
    registry: Registry, folder: Path
) -> None:
    publish(registry, folder, "run-1")
    with pytest.raises(NotFound, match="the newest is btc@1"):
        registry.version("btc", 9)
    with pytest.raises(NotFound, match="did you mean 'btc'"):
        registry.version("btcc", 1)


# Files


def test_fetched_files_are_the_published_ones_and_a_damaged_local_copy_is_replaced(
    registry: Registry, folder: Path, tmp_path: Path
) -> None:
    version = publish(registry, folder, "run-1")
    target = registry.fetch(version, tmp_path / "serving" / "btc@1")
    assert sorted(path.name for path in target.iterdir()) == ["model.onnx", "probe.npz"]
    (target / "model.onnx").write_bytes(b"run-?")
    registry.fetch(version, target)
    assert (target / "model.onnx").read_bytes() == b"run-1"


def test_a_file_that_is_gone_is_named_with_its_version(registry: Registry, blobs: Blobs, folder: Path) -> None:
    version = publish(registry, folder, "run-1")
    blobs.delete(version.manifest.files["model.onnx"])
    with pytest.raises(NotFound, match=r"model\.onnx of btc@1 is missing"):
        registry.read(version, "model.onnx")
    with pytest.raises(NotFound, match=r"did you mean 'model\.onnx'"):
        registry.read(version, "model.onx")


# Champions and journal


def test_no_version_serves_before_the_first_promotion(registry: Registry, folder: Path) -> None:
    publish(registry, folder, "run-1")
    assert registry.champion("btc") is None
    assert registry.champions() == {}


def test_a_promotion_changes_the_champion_and_says_why(registry: Registry, folder: Path) -> None:
    publish_and_promote(registry, folder, 1)
    publish(registry, folder, "run-2")
    local = NOON.astimezone(timezone(timedelta(hours=5)))
    entry = promote(registry, 2, at=local, warning="first of its kind", expected=1)
    assert (entry.number, entry.previous, entry.serving, entry.run) == (2, 1, 2, "run-2")
    assert (entry.at, entry.at.tzinfo, entry.warning) == (NOON, UTC, "first of its kind")
    assert registry.champions() == {"btc": 2}
    champion = registry.champion("btc")
    assert champion is not None
    assert champion.name == "btc@2"
    assert registry.journal("btc")[0] == entry


def test_a_kept_version_is_written_down_once_and_does_not_serve(registry: Registry, folder: Path) -> None:
    publish_and_promote(registry, folder, 1)
    publish(registry, folder, "run-2")
    words: dict[str, Any] = {"run": "run-2", "by": "pipeline", "reason": "by chance", "at": NOON}
    entry = registry.keep("btc", 2, **words)
    assert registry.keep("btc", 2, **words) == entry
    assert (entry.action, entry.version, entry.previous, entry.serving) == ("keep", 2, 1, 1)
    assert registry.champions() == {"btc": 1}
    assert [e.action for e in registry.journal("btc")] == ["keep", "promote"]


def test_a_promotion_said_twice_is_one_line_in_the_journal(registry: Registry, folder: Path) -> None:
    publish(registry, folder, "run-1")
    first = promote(registry, 1, expected=None)
    assert promote(registry, 1, expected=None) == first
    assert promote(registry, 1, run=None, by="ann") == first
    assert registry.journal("btc") == [first]


def test_a_run_that_repeats_its_promotion_does_not_undo_a_rollback(registry: Registry, folder: Path) -> None:
    publish_and_promote(registry, folder, 2)
    roll_back(registry)
    assert promote(registry, 2).number == 2
    assert registry.champions() == {"btc": 1}
    assert promote(registry, 2, run=None, by="ann").number == 4
    assert registry.champions() == {"btc": 2}


def test_a_promotion_against_another_champion_than_expected_is_a_conflict(registry: Registry, folder: Path) -> None:
    publish_and_promote(registry, folder, 1)
    publish(registry, folder, "run-2")
    for expected in (None, 2):
        with pytest.raises(Conflict, match="btc@1 serves, not"):
            promote(registry, 2, expected=expected)
    assert len(registry.journal("btc")) == 1


def test_a_version_that_does_not_exist_cannot_serve(registry: Registry) -> None:
    with pytest.raises(NotFound, match="there is no version btc@1"):
        promote(registry, 1)
    assert registry.journal("btc") == []


def test_a_second_rollback_goes_further_back_and_not_forth_again(registry: Registry, folder: Path) -> None:
    publish_and_promote(registry, folder, 3)
    assert [roll_back(registry).serving, roll_back(registry).serving] == [2, 1]
    with pytest.raises(Conflict, match="btc@1 serves, and no champion before it"):
        roll_back(registry)
    assert registry.champions() == {"btc": 1}
    assert [e.action for e in registry.journal("btc")] == ["rollback"] * 2 + ["promote"] * 3


def test_a_rollback_may_name_the_earlier_champion_that_it_goes_to(registry: Registry, folder: Path) -> None:
    publish_and_promote(registry, folder, 3)
    publish(registry, folder, "run-4")
    with pytest.raises(Conflict, match="btc@4 did not serve before it") as refused:
        roll_back(registry, to=4)
    assert refused.value.do == "roll back to btc@2, btc@1; or promote btc@4"
    entry = roll_back(registry, to=1, expected=3)
    assert (entry.version, entry.previous, entry.serving) == (1, 3, 1)
    with pytest.raises(Conflict, match="the champion has changed"):
        roll_back(registry, expected=3)


def test_without_a_champion_there_is_nothing_to_roll_back(registry: Registry) -> None:
    with pytest.raises(Conflict, match="nothing serves"):
        roll_back(registry)


def test_a_time_without_a_zone_is_refused(registry: Registry, folder: Path) -> None:
    publish(registry, folder, "run-1")
    with pytest.raises(exc.StatementError, match="without a time zone"):
        promote(registry, 1, at=NOON.replace(tzinfo=None))


@pytest.mark.parametrize("table", ["springtide_journal", "springtide_versions"])
@pytest.mark.parametrize("change", ["UPDATE {} SET model = 'x'", "DELETE FROM {}"])
def test_the_journal_and_the_versions_cannot_be_rewritten_even_by_hand(
    registry: Registry, engine: Engine, folder: Path, table: str, change: str
) -> None:
    publish_and_promote(registry, folder, 1)
    with pytest.raises(exc.DBAPIError, match=f"{table} is append-only"), engine.begin() as connection:
        connection.execute(text(change.format(table)))


def test_a_row_of_the_journal_cannot_be_replaced_by_hand(registry: Registry, engine: Engine, folder: Path) -> None:
    publish_and_promote(registry, folder, 1)
    sqlite = engine.dialect.name == "sqlite"
    change = "INSERT OR REPLACE INTO {0} SELECT * FROM {0}" if sqlite else "TRUNCATE {0} CASCADE"
    with pytest.raises(exc.DBAPIError, match="append-only"), engine.begin() as connection:
        connection.execute(text(change.format("springtide_journal")))


# Retention


def test_retention_keeps_the_newest_the_champion_and_the_one_before_it(
    registry: Registry, blobs: Blobs, folder: Path
) -> None:
    publish_and_promote(registry, folder, 3)
    for run in ("run-4", "run-5", "run-6"):
        publish(registry, folder, run)
    assert [v.number for v in registry.retain("btc", 1)] == [5, 4, 1]
    assert registry.retain("btc", 1) == []
    kept = {d for n in (6, 3, 2) for d in registry.version("btc", n).manifest.files.values()}
    assert blobs.names() == kept  # probe.npz is shared by all six
    assert len(registry.versions("btc")) == 6


def test_a_version_without_files_cannot_serve_and_says_why(registry: Registry, folder: Path) -> None:
    publish_and_promote(registry, folder, 3)
    registry.retain("btc", 1)
    with pytest.raises(NotFound, match="files of btc@1 were removed by retention"):
        registry.read(registry.version("btc", 1), "model.onnx")
    with pytest.raises(Conflict, match="retention has removed its files"):
        promote(registry, 1, run=None)
    assert roll_back(registry).serving == 2
    with pytest.raises(Conflict, match="no champion before it has its files"):
        roll_back(registry)


def test_a_file_that_another_model_shares_survives_retention(registry: Registry, folder: Path) -> None:
    publish(registry, folder, "run-1", weights=b"same")
    publish(registry, folder, "run-e", weights=b"same", model="eth")
    publish(registry, folder, "run-2")
    assert [v.name for v in registry.retain("btc", 1)] == ["btc@1"]
    assert registry.read(registry.version("eth", 1), "model.onnx") == b"same"


def test_files_that_retention_took_come_back_with_the_next_version_that_has_them(
    registry: Registry, folder: Path
) -> None:
    publish(registry, folder, "run-1", weights=b"same")
    publish(registry, folder, "run-2")
    registry.retain("btc", 1)
    assert registry.read(publish(registry, folder, "run-3", weights=b"same"), "model.onnx") == b"same"


def test_a_file_that_retention_takes_while_a_version_waits_to_be_written_is_stored_again(
    registry: Registry, engine: Engine, blobs: Blobs, folder: Path
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with writing(engine):  # as retention does while it removes files
            publishing = pool.submit(publish, registry, folder, "run-1")
            while len(blobs.names()) < 2:
                time.sleep(0.01)
            for digest in blobs.names():
                blobs.delete(digest)
        version = publishing.result(timeout=10)
    assert registry.read(version, "model.onnx") == b"run-1"
    assert registry.read(version, "probe.npz") == b"probe"


def test_retention_of_nothing_is_refused(registry: Registry) -> None:
    with pytest.raises(SettingsError, match="keep = 0"):
        registry.retain("btc", 0)


# Runs


def a_run(name: str, *, minutes: int = 0, **words: Any) -> Run:
    return Run(
        name,
        **{"model": "btc", "state": "running", "reasons": ("cron",)} | words,
        started=NOON + timedelta(minutes=minutes),
    )


def test_a_run_is_stored_as_it_stands_and_comes_back_equal(registry: Registry) -> None:
    registry.save_run(a_run("run-1"))
    done = a_run(
        "run-1",
        state="failed",
        finished=NOON + timedelta(seconds=90),
        steps=(Step("collect", NOON, 1.5, {"rows": 24}), Step("train", NOON)),
        failure=Failure("too few rows", "table binance", "collect more"),
    )
    registry.save_run(done)
    assert registry.run("run-1") == done
    with pytest.raises(NotFound, match="no run 'run-2'"):
        registry.run("run-2")


def test_what_a_run_tells_at_once_is_numbered_on_and_counted_by_kind(registry: Registry) -> None:
    registry.save_run(a_run("run-1"))
    assert registry.add_event("run-1", "state", {"state": "running"}, NOON) == 1
    assert registry.add_events("run-1", [("log", {"line": str(line)}, NOON) for line in range(700)]) == 701
    assert registry.add_events("run-2", [("report", {"epoch": 1}, NOON)]) == 1
    told = registry.events("run-1", after=1)
    assert [(event.number, event.body["line"]) for event in told] == [(line + 2, str(line)) for line in range(700)]
    assert registry.count_events("run-1") == {"state": 1, "log": 700}


def test_runs_come_newest_first_up_to_the_limit(registry: Registry) -> None:
    for minutes, name in enumerate(["b", "a", "c"]):
        registry.save_run(a_run(name, minutes=minutes))
    registry.save_run(a_run("e", minutes=9, model="eth"))
    assert [run.id for run in registry.runs()] == ["e", "c", "a", "b"]
    assert [run.id for run in registry.runs("btc", limit=2)] == ["c", "a"]


def test_every_snapshot_that_a_version_or_a_run_learned_from_is_listed(registry: Registry, folder: Path) -> None:
    publish(registry, folder, "run-1")
    registry.save_run(a_run("run-2", steps=(Step("snapshot", NOON, 0.1, {"table": "kraken", "version": 3}),)))
    registry.save_run(a_run("run-3", steps=(Step("collect", NOON),)))
    assert registry.snapshots() == {("binance", 7), ("kraken", 3)}


# Calls


def test_calls_are_counted_down_to_none_and_a_new_period_begins_anew(registry: Registry) -> None:
    march = [registry.spend_call("CoinGecko demo", "2024-03", limit=2) for _ in range(4)]
    assert march == [1, 0, None, None]
    assert registry.spend_call("CoinGecko demo", "2024-04", limit=2) == 1
    assert registry.spend_call("Infura", "2024-03", limit=2) == 1


def test_a_call_that_was_not_allowed_is_not_counted(registry: Registry) -> None:
    for _ in range(3):
        registry.spend_call("CoinGecko demo", "2024-03", limit=1)
    assert registry.spend_call("CoinGecko demo", "2024-03", limit=5) == 3


# Several processes at once

RACE = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from springtide.domain.errors import Conflict
from springtide.registry.blobs import Blobs
from springtide.registry.database import open_database, writing
from springtide.registry.registry import Registry

url, store, number = sys.argv[1:]
registry = Registry(open_database(url), Blobs(store))
print("ready", flush=True)
sys.stdin.readline()
try:
    words = {"run": f"run-{number}", "by": "race", "reason": "-", "at": datetime.now(UTC)}
    registry.promote("btc", int(number), **words, expected=1)
    for turn in range(20):
        registry.keep("btc", int(number), **words | {"run": f"{number}-{turn}"})
    print("won")
except Conflict:
    for turn in range(20):
        registry.keep("btc", int(number), **words | {"run": f"{number}-{turn}"})
    print("lost")
"""


def test_of_two_processes_that_replace_the_same_champion_exactly_one_wins_and_no_line_is_lost(
    url: str, registry: Registry, folder: Path, tmp_path: Path
) -> None:
    publish_and_promote(registry, folder, 1)
    publish(registry, folder, "run-2")
    publish(registry, folder, "run-3")
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, url, str(tmp_path / "unused"), number],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in ("2", "3")
    ]
    for racer in racers:
        assert racer.stdout is not None
        racer.stdout.readline()
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    said = [racer.communicate()[0].strip() for racer in racers]
    assert sorted(said) == ["lost", "won"]
    assert registry.champions() == {"btc": 2 + said.index("won")}
    entries = registry.journal("btc")
    assert [entry.number for entry in entries] == list(range(42, 0, -1))


SPEND = """
import sys
from springtide.registry.blobs import Blobs
from springtide.registry.database import open_database
from springtide.registry.registry import Registry
url, store, limit = sys.argv[1:]
registry = Registry(open_database(url), Blobs(store))
registry.models()
print("ready", flush=True)
sys.stdin.readline()
while (left := registry.spend_call("CoinGecko demo", "2024-03", limit=int(limit))) is not None:
    print(left)
"""


def test_what_triggers_have_seen_is_replaced_and_requests_are_kept_apart(registry: Registry) -> None:
    first = TriggerState("btc", "cron", NOON, {"schedule": "5 * * * *", "fired": None})
    source = TriggerState("btc", "source", NOON, {"since": "é"})
    registry.save_triggers([first, source])
    registry.request_run("btc", "a message", at=NOON)
    registry.request_run("btc", "a message", at=NOON + timedelta(seconds=1))
    registry.request_run("btc", "another", at=NOON + timedelta(seconds=2))
    later = replace(first, at=NOON + timedelta(hours=1))
    registry.save_triggers([later])
    assert sorted(registry.trigger_states(), key=lambda one: one.kind) == [later, source]
    assert [one.facts["reason"] for one in registry.run_requests()] == ["a message", "another"]


def test_a_request_that_was_made_again_since_it_was_read_is_not_forgotten(registry: Registry) -> None:
    registry.request_run("btc", "a message", at=NOON)
    registry.request_run("eth", "a message", at=NOON)
    read = registry.run_requests()
    registry.request_run("btc", "a message", at=NOON + timedelta(seconds=1))
    registry.save_triggers([], answered=read)
    assert [(one.subject, one.at) for one in registry.run_requests()] == [("btc", NOON + timedelta(seconds=1))]


def test_the_newest_run_of_each_model_says_which_version_of_its_table_it_saw(registry: Registry) -> None:
    def ran(model: str, hour: int, version: int, table: str = "candles") -> None:
        step = Step("snapshot", NOON, 1.0, {"table": table, "version": version})
        registry.save_run(Run(f"{model}-{hour}", model, "failed", ("x",), NOON + timedelta(hours=hour), steps=(step,)))

    ran("btc", 1, 7)
    ran("btc", 2, 9)
    ran("btc", 3, 1, table="other")
    ran("eth", 1, 8)
    registry.save_run(Run("eth-4", "eth", "running", ("x",), NOON + timedelta(hours=4)))
    assert registry.newest_snapshots("candles") == {"btc": 9, "eth": 8}


def test_a_champion_was_made_when_its_version_was(registry: Registry, folder: Path) -> None:
    first = registry.publish(replace(manifest("run-1"), created=NOON), folder, VERDICT)
    registry.publish(replace(manifest("run-2"), created=NOON + timedelta(days=1)), folder, VERDICT)
    assert registry.champions_made() == {}
    registry.promote("btc", first.number, run="run-1", by="gate", reason="won", at=NOON + timedelta(days=2))
    assert registry.champions_made() == {"btc": NOON}


def test_processes_that_spend_at_once_never_spend_a_call_twice(url: str, registry: Registry, tmp_path: Path) -> None:
    limit = 60
    spenders = [
        subprocess.Popen(
            [sys.executable, "-c", SPEND, url, str(tmp_path / "unused"), str(limit)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for spender in spenders:
        assert spender.stdout is not None
        spender.stdout.readline()
    for spender in spenders:
        assert spender.stdin is not None
        spender.stdin.write("go\n")
        spender.stdin.flush()
    left = [int(line) for spender in spenders for line in spender.communicate()[0].split()]
    assert sorted(left) == list(range(limit))
    assert registry.spend_call("CoinGecko demo", "2024-03", limit=limit) is None


MIGRATE = """
import sys
from springtide.registry.migrate import migrate
print("ready", flush=True)
sys.stdin.readline()
migrate(sys.argv[1])
print("done")
"""


def test_processes_that_start_at_once_on_an_empty_database_all_find_it_migrated(
    kind: str, url: str, tmp_path: Path
) -> None:
    empty = f"sqlite:///{tmp_path}/new/empty.db"
    if kind.startswith("postgres"):
        command(url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
        empty = url
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", MIGRATE, empty], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for starter in starters:
        assert starter.stdout is not None
        starter.stdout.readline()
    for starter in starters:
        assert starter.stdin is not None
        starter.stdin.write("go\n")
        starter.stdin.flush()
    assert [starter.communicate()[0].strip() for starter in starters] == ["done"] * 3
    engine = open_database(empty)
    assert Registry(engine, Blobs(str(tmp_path / "models"))).models() == []
    engine.dispose()


def posted(registry: Registry, *targets: str, name: str = "n1", minute: int = 0) -> Notice:
    at = NOON + timedelta(minutes=minute)
    notice = Notice(name, "kept", "title é", "text", at, model="btc", version=3, facts={"gain": -0.01, "who": None})
    registry.post_notice(notice, targets, due=at)
    return notice


def names(registry: Registry, now: datetime, limit: int = 9) -> list[tuple[str, str]]:
    return [(one.notice.id, one.target) for one in registry.due_notices(now, limit)]


def test_a_notice_waits_for_each_target_until_it_is_due(registry: Registry) -> None:
    notice = posted(registry, "a", "b")
    assert registry.due_notices(NOON - timedelta(microseconds=1), 9) == []
    (first, second) = registry.due_notices(NOON, 9)
    assert (first.notice, first.target, first.created, first.tries) == (notice, "a", NOON, 0)
    assert (second.notice, second.target, second.due, second.state) == (notice, "b", NOON, "waiting")


def test_a_notice_that_is_posted_again_is_as_it_was_whatever_has_become_of_it(registry: Registry) -> None:
    posted(registry, "a", "b", "c")
    registry.notice_delivered("n1", "a")
    registry.notice_failed("n1", "b", due=NOON + timedelta(hours=1), failure="answered 500")
    registry.notice_failed("n1", "c", due=None, failure="answered 500")
    posted(registry, "a", "b", "c", "d")
    assert names(registry, NOON) == [("n1", "d")]
    assert names(registry, NOON + timedelta(hours=1)) == [("n1", "d"), ("n1", "b")]
    undelivered = {one.target: (one.state, one.tries, one.failure) for one in registry.notices()}
    assert undelivered == {
        "b": ("waiting", 1, "answered 500"),
        "c": ("given up", 1, "answered 500"),
        "d": ("waiting", 0, None),
    }


def test_of_each_target_the_oldest_notices_come_first_and_only_so_many(registry: Registry) -> None:
    for minute in (3, 1, 2):
        posted(registry, "a", name=f"n{minute}", minute=minute)
    posted(registry, "b", name="n4", minute=4)
    later = NOON + timedelta(hours=1)
    assert names(registry, later, limit=2) == [("n1", "a"), ("n2", "a"), ("n4", "b")]


def test_what_waits_is_never_forgotten(registry: Registry) -> None:
    posted(registry, "a", "b", "c")
    registry.notice_delivered("n1", "a")
    registry.notice_failed("n1", "b", due=None, failure="gone")
    registry.forget_notices(NOON)
    assert [one.target for one in registry.notices()] == ["b", "c"]
    registry.forget_notices(NOON + timedelta(microseconds=1))
    assert [one.target for one in registry.notices()] == ["c"]
    posted(registry, "a")  # long ago: it may be sent again
    assert names(registry, NOON) == [("n1", "a"), ("n1", "c")]


def test_processes_that_post_one_notice_at_once_post_it_once(registry: Registry) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: posted(registry, "a", "b"), range(16)))
    assert names(registry, NOON) == [("n1", "a"), ("n1", "b")]


def test_the_newest_search_of_a_model_is_kept_whole_until_it_is_forgotten(registry: Registry) -> None:
    assert registry.recipe("btc") is None
    first = FoundRecipe("btc", NOON, {"window": 96, "learning_rate": 1e-3, "network": "nlinear"}, "digest", NOON)
    second = replace(first, found=NOON + timedelta(days=1), changes={}, facts={"gain": 0.01, "trials": 12})
    other = replace(first, model="eth")
    for recipe in (first, other, second):
        registry.save_recipe(recipe)
    assert registry.recipe("btc") == second
    assert registry.recipe("eth") == other
    assert registry.forget_recipe("btc")
    assert not registry.forget_recipe("btc")
    assert (registry.recipe("btc"), registry.recipe("eth")) == (None, other)


def receipt(number: int, region: str = "omsk", *, version: int = 0) -> Receipt:
    """A batch of ten rows, one of them corrected and one rejected."""
    at, day = NOON + timedelta(minutes=number), NOON + timedelta(days=number)
    return Receipt("counts", region, f"b{number}", "ab" * 32, at, version, 10, 8, 1, 0, 1, day, day)


def test_batches_are_indexed_once_and_counted_by_region(registry: Registry) -> None:
    assert registry.indexed_batches("counts") is None
    many = [receipt(number, f"region {number % 3}", version=number // 100) for number in range(1_200)]
    for _ in range(2):  # also another process may have done it
        registry.enter_batches("counts", "id", many)
    assert registry.indexed_batches("counts") == ("id", 11)
    known = registry.find_batches("counts", "id", [(one.region, one.batch) for one in many] + [("x", "b1")])
    assert known == {(one.region, one.batch): one for one in many}
    newest = NOON + timedelta(days=1_197)
    assert registry.regions("counts")[0] == RegionFacts(
        "region 0",
        batches=400,
        rows=3_200,
        corrected=400,
        rejected=400,
        arrived=NOON + timedelta(minutes=1_197),
        newest=newest,
    )
    assert registry.regions("other") == []


def test_batches_that_come_again_are_counted_beside_the_new_ones(registry: Registry) -> None:
    registry.enter_batches("counts", "id", [receipt(1), receipt(2)], again=[receipt(1), receipt(1)])
    [omsk] = registry.regions("counts")
    assert (omsk.batches, omsk.repeated, omsk.arrived) == (2, 2, NOON + timedelta(minutes=2))


def test_the_index_of_a_table_that_was_made_anew_begins_anew(registry: Registry) -> None:
    registry.enter_batches("counts", "old", [receipt(1, version=9), receipt(2, "tver")])
    registry.enter_batches("counts", "new", [receipt(1)])
    assert registry.indexed_batches("counts") == ("new", 0)
    assert registry.find_batches("counts", "old", [("omsk", "b1")]) == {}
    assert [(one.region, one.batches) for one in registry.regions("counts")] == [("omsk", 1)]


def test_rejected_rows_replace_those_of_their_batch_and_only_the_newest_are_kept(registry: Registry) -> None:
    def bad(batch: int, *rows: int) -> list[RejectedRow]:
        at = NOON + timedelta(minutes=batch)
        return [RejectedRow("omsk", f"b{batch}", row, at, f"why {row}", "{}") for row in rows]

    registry.reject_rows("counts", bad(1, 1, 2), keep=3)
    registry.reject_rows("counts", bad(1, 5), keep=3)
    assert registry.rejected_rows("counts") == bad(1, 5)
    registry.refuse_batch("counts", RejectedRow("omsk", "b2", None, NOON + timedelta(minutes=2), "no column"), keep=3)
    registry.reject_rows("counts", bad(3, *range(1, 10)), keep=3)
    assert registry.rejected_rows("counts", "omsk") == bad(3, 1, 2, 3)
    assert registry.rejected_rows("counts", "tver") == []
    assert (registry.regions("counts")[0].refused, registry.regions("counts")[0].arrived) == (
        1,
        NOON + timedelta(minutes=2),
    )
