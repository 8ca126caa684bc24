"""`springtide stream` and `springtide stream send` on a real broker: rows in, events out, dead letters aside."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests import stream_world as world
from tests.brokers import BROKERS, broker
from tests.ports import free_port
from tests.unit.cli.world import COMMAND, csv, environment, refused, springtide

from springtide.app.notifying import announce
from springtide.app.regions import accept
from springtide.domain.clock import utc_now
from springtide.domain.notice import Notice
from springtide.streams.broker import open_broker
from springtide.streams.messages import File, JobMessage, Payload, RowsMessage, encode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from springtide.streams.consuming import Delivery

PATIENCE_S = 30
CANDLES = """\
[sources.candles]
kind = "rows"
values = { open = "number", high = "number", low = "number", close = "number", volume = "number" }
columns = { unique_id = "unique_id" }
"""


def wait_until(true: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def read_all(url: str, name: str, count: int) -> list[dict[str, Any]]:
    """The first messages of a topic."""
    return [json.loads(body) for body in bodies_of(url, name, count)]


def bodies_of(url: str, name: str, count: int) -> list[bytes]:
    """The first messages of a topic as they are."""
    found: list[bytes] = []

    async def read() -> None:
        reader = open_broker(url, group="people", prefix="springtide", together=10)

        async def take(delivery: Delivery) -> None:
            found.extend(delivery.bodies)
            await delivery.done()

        reader.read(f"springtide.{name}", take)
        await reader.start()
        running = asyncio.create_task(reader.run())
        async with asyncio.timeout(PATIENCE_S):
            while len(found) < count:
                await asyncio.sleep(0.05)
        running.cancel()
        await reader.stop()

    asyncio.run(read())
    return found


def test_rows_go_from_files_through_the_broker_into_the_lake_and_events_go_out(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    with broker("nats", tmp_path) as url:
        home = world.make_home(folder, url, more=CANDLES)
        log = tmp_path / "log"
        with log.open("wb") as out:
            consumer = subprocess.Popen([COMMAND, "stream"], cwd=folder, env=environment(), stdout=out, stderr=out)
        try:
            (folder / "small.csv").write_text(csv(0, 10).replace("ds,", "unique_id,ds,").replace("\n2", "\nBTC/USDT,2"))
            (folder / "large.csv").write_text(
                csv(10, 6000).replace("ds,", "unique_id,ds,").replace("\n2", "\nBTC/USDT,2")
            )
            for name in ("small", "large"):
                words = ["--table", "candles", "--region", "kostroma", "--file", f"{name}.csv"]
                assert "sent batch" in springtide(folder, "stream", "send", *words).stdout
            assert any(json.loads(body)["data"].get("stored") for body in bodies_of(url, "rows", 2)), (
                "the large one is not in the store"
            )
            world.send(home, [("rows", "k", b'{"table": "candles"}', "poison")])
            announce(home, Notice("r1-failed", "failed", "btc: a run failed", "why", utc_now(), model="btc", run="r1"))
            (letter,) = read_all(url, "dead", 1)
            (event,) = read_all(url, "events", 1)
            wait_until(lambda: "candles" in home.lake.names(), log)
            table = home.lake.table("candles")
            wait_until(lambda: table.scan().collect().height == 6000, log)
            small = (folder / "small.csv").read_bytes()
            again = accept(home, "candles", region="kostroma", batch=None, data=small, form="csv", now=utc_now())
            assert again.repeated  # also a file without a name counts once, whichever way it comes
            wait_until(lambda: not [one for one in (folder / "var" / "streams").rglob("*") if one.is_file()], log)
        finally:
            consumer.send_signal(signal.SIGTERM)
            code = consumer.wait(PATIENCE_S)
    assert code == 0, log.read_text()
    assert (letter["topic"], letter["original"]) == ("springtide.rows", {"text": '{"table": "candles"}'})
    assert "region" in letter["what"]
    assert (event["id"], event["event"], event["model"]) == ("r1-failed", "failed", "btc")
    assert event["links"] == {
        "model": "http://127.0.0.1:8000/v1/models/btc",
        "run": "http://127.0.0.1:8000/v1/runs/r1",
    }


def test_a_job_over_the_stream_is_one_queued_job_however_often_it_comes_and_a_wrong_one_a_dead_letter(
    tmp_path: Path,
) -> None:
    folder, log = tmp_path / "home", tmp_path / "log"
    data = File(name="train.csv", content=Payload(text="a,y\n1,2\n"))
    good = encode(JobMessage(id="shop-1", params={"target": "y"}, data=data))
    wrong = encode(JobMessage(id="shop-2", params={"targt": "y"}, data=data))
    with broker("rabbit", tmp_path) as url:
        home = world.make_home(folder, url)
        with log.open("wb") as out:
            consumer = subprocess.Popen([COMMAND, "stream"], cwd=folder, env=environment(), stdout=out, stderr=out)
        try:
            world.send(home, [("jobs", "k", body, f"m{turn}") for turn, body in enumerate([good, wrong, good])])
            (letter,) = read_all(url, "dead", 1)
            wait_until(lambda: bool(home.registry.jobs()), log)
            world.send(home, [("jobs", "k", wrong, "last")])
            assert len(read_all(url, "dead", 1)) == 1  # which says that all before it has been handled
        finally:
            consumer.send_signal(signal.SIGTERM)
            code = consumer.wait(PATIENCE_S)
    assert code == 0, log.read_text()
    (job,) = home.registry.jobs()
    assert (job.params.target, dict(job.files)) == ("y", {"data": "train.csv"})
    assert home.registry.run(job.id).state == "queued"
    assert (letter["topic"], letter["what"]) == ("springtide.jobs", "key 'targt' is not known")


@pytest.mark.parametrize("kind", BROKERS)
def test_dead_letters_are_listed_as_often_as_asked_and_sent_again_once(tmp_path: Path, kind: str) -> None:
    folder, log = tmp_path / "home", tmp_path / "log"
    with broker(kind, tmp_path) as url:
        home = world.make_home(folder, url)
        message = RowsMessage(
            table="candles", region="r", batch="b", form="csv", data=Payload(text="ds,y\n2024-01-01,1\n")
        )
        with log.open("wb") as out:
            consumer = subprocess.Popen([COMMAND, "stream"], cwd=folder, env=environment(), stdout=out, stderr=out)
        try:
            world.send(home, [world.as_sent(message), ("rows", "k", b"no message", "x")])
            wait_until(lambda: log.read_text().count("set aside") == 2, log)
            for _ in range(2):
                said = springtide(folder, "stream", "dead").stdout
                assert "springtide.rows: no rows are taken for table 'candles'" in said
                assert "about: table candles, region r, batch b\n" in said
                assert "2 dead letters" in said
            config = folder / "springtide.toml"
            config.write_text(config.read_text() + "[sources.candles]\nkind = 'rows'\nvalues = { y = 'number' }\n")
            wait_until(lambda: log.read_text().count("Springtide reads") == 2, log)
            assert "2 dead letters, 2 sent again" in springtide(folder, "stream", "dead", "--again").stdout
            wait_until(lambda: "candles" in home.lake.names(), log)
            wait_until(lambda: log.read_text().count("set aside") == 3, log)
            assert "1 dead letter\n" in springtide(folder, "stream", "dead").stdout
        finally:
            consumer.send_signal(signal.SIGTERM)
            code = consumer.wait(PATIENCE_S)
    assert code == 0, log.read_text()


def test_a_table_that_is_added_to_the_settings_takes_rows_without_a_restart(tmp_path: Path) -> None:
    folder, log = tmp_path / "home", tmp_path / "log"
    with broker("redis", tmp_path) as url:
        home = world.make_home(folder, url)
        config = folder / "springtide.toml"
        before = config.read_text()
        with log.open("wb") as out:
            consumer = subprocess.Popen([COMMAND, "stream"], cwd=folder, env=environment(), stdout=out, stderr=out)
        try:
            wait_until(lambda: log.read_text().count("Springtide reads") == 1, log)
            config.write_text(before + "[sources.candles]\nkind = 'no such kind'\n")
            wait_until(lambda: "the one before stays" in log.read_text(), log)
            config.write_text(before + CANDLES)
            wait_until(lambda: log.read_text().count("Springtide reads") == 2, log)
            (folder / "a.csv").write_text(csv(0, 10).replace("ds,", "unique_id,ds,").replace("\n2", "\nBTC/USDT,2"))
            springtide(folder, "stream", "send", "--table", "candles", "--region", "r", "--file", "a.csv")
            wait_until(lambda: "candles" in home.lake.names(), log)
        finally:
            consumer.send_signal(signal.SIGTERM)
            code = consumer.wait(PATIENCE_S)
    assert code == 0, log.read_text()


@pytest.mark.parametrize("kind", ["kafka", "nats", "amqp", "redis"])
def test_a_broker_that_is_away_is_said_within_seconds(tmp_path: Path, kind: str) -> None:
    (tmp_path / "springtide.toml").write_text(f'[streams]\nurl = "{kind}://127.0.0.1:{free_port()}"\n')
    (tmp_path / "a.csv").write_text("unique_id,ds,y\n")
    began = time.monotonic()
    said = refused(tmp_path, "stream", "send", "--table", "t", "--region", "r", "--file", "a.csv")
    assert time.monotonic() - began < 40
    assert "the broker has not taken the batch" in said
    assert "see that the broker runs" in said
    assert "a batch counts once" in said
    said = refused(tmp_path, "stream", "dead")
    assert "dead letters cannot be read" in said
    assert "a batch counts once" not in said


@pytest.mark.parametrize("kind", ["kafka", "nats", "amqp", "redis"])
def test_a_consumer_whose_broker_is_away_says_so_and_ends_when_it_is_told_to(tmp_path: Path, kind: str) -> None:
    (tmp_path / "springtide.toml").write_text(f'[streams]\nurl = "{kind}://127.0.0.1:{free_port()}"\n')
    log = tmp_path / "log"
    with log.open("wb") as out:
        consumer = subprocess.Popen([COMMAND, "stream"], cwd=tmp_path, env=environment(), stdout=out, stderr=out)
    try:
        wait_until(lambda: "the broker does not answer, again in" in log.read_text(), log)
    finally:
        consumer.send_signal(signal.SIGTERM)
        code = consumer.wait(PATIENCE_S)
    assert code == 0, log.read_text()
    assert "Springtide reads" not in log.read_text()


@pytest.mark.parametrize(("table", "region"), [("../t", "r"), ("t", "a\nb"), ("t", "")])
def test_names_that_the_consumer_would_refuse_are_refused_before_anything_is_sent(
    tmp_path: Path, table: str, region: str
) -> None:
    (tmp_path / "springtide.toml").write_text(f'[streams]\nurl = "nats://127.0.0.1:{free_port()}"\n')
    (tmp_path / "a.csv").write_text("unique_id,ds,y\n")
    said = refused(tmp_path, "stream", "send", "--table", table, "--region", region, "--file", "a.csv")
    assert "this is no RowsMessage" in said


@pytest.mark.parametrize(
    ("table", "region", "known"), [("nosuch", "Tula", "known: counts"), ("counts", "Moscow", "known: Tula")]
)
def test_rows_that_no_source_takes_are_not_sent(tmp_path: Path, table: str, region: str, known: str) -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    world.make_home(tmp_path, url, more='regions = ["Tula"]\n')
    (tmp_path / "a.csv").write_text("ds,y\n")
    said = refused(tmp_path, "stream", "send", "--table", table, "--region", region, "--file", "a.csv")
    assert "no rows are taken" in said
    assert known in said


def test_without_a_broker_in_the_settings_the_command_says_what_to_write(tmp_path: Path) -> None:
    (tmp_path / "springtide.toml").write_text("")
    (tmp_path / "a.csv").write_text("unique_id,ds,y\n")
    words = ["stream", "send", "--table", "t", "--region", "r", "--file", "a.csv"]
    assert 'url = "kafka://HOST:9092" into [streams]' in refused(tmp_path, *words)
    done = springtide(tmp_path, "stream", code=2)
    assert "no broker is set" in done.stderr
