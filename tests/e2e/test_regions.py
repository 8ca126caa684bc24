"""Many senders and one server: what they send over HTTP is the table, and what they send wrong is told."""

from __future__ import annotations

import json
import math
import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
from tests.killing import Workers
from tests.regions_world import (
    Batch,
    counts,
    invented,
    make_config,
    quoted,
    serving,
    table_as_sent,
    weekly,
)

from springtide.app.home import open_home, read_settings
from springtide.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS = "/v1/tables/covid/rows"
CSV = {"content-type": "text/csv"}
HEADER = b"date,confirmed,deaths\n"
GOOD = HEADER + b"2020-03-01,5,0\n"
GIB = 2**30


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_config(tmp_path_factory.mktemp("home"), more='regions = ["region 00", "region 01", "omsk"]')


@pytest.fixture(scope="module")
def server(config: Path) -> Iterator[tuple[httpx.Client, psutil.Process]]:
    with serving(config) as (url, process), httpx.Client(base_url=url, timeout=60) as client:
        yield client, psutil.Process(process.pid)


@pytest.fixture(scope="module")
def client(server: tuple[httpx.Client, psutil.Process]) -> httpx.Client:
    return server[0]


def send(client: httpx.Client, data: bytes | Iterator[bytes], kind: str = "text/csv", **asked: str) -> httpx.Response:
    return client.post(ROWS, params={"region": "omsk", **asked}, content=data, headers={"content-type": kind})


def test_each_form_is_taken_by_its_content_type_and_answered_with_a_receipt(client: httpx.Client) -> None:
    batches = weekly(invented(2, 20))
    forms = (("csv", "text/csv; charset=utf-8"), ("json", "application/json"), ("parquet", "application/x-parquet"))
    for at, batch in enumerate(batches):
        form, kind = forms[at % 3]
        for repeated in (False, True):
            answer = send(client, getattr(batch, form), kind, region=batch.region, batch=batch.name)
            assert answer.status_code == 200, answer.text
            said = answer.json()
            assert (said["new"], said["rejected"], said["repeated"]) == (batch.rows.height, 0, repeated)
    regions = {one["region"]: one for one in client.get("/v1/tables/covid/regions").json()["regions"]}
    assert regions["region 00"]["rows"] == 20
    assert regions["region 01"]["repeated"] == len(batches) / 2


def test_the_list_of_tables_says_where_rows_can_be_sent(client: httpx.Client) -> None:
    send(client, GOOD)
    [table] = client.get("/v1/tables").json()
    assert (table["table"], table["takes_rows"], table["step_s"]) == ("covid", True, 86_400)


def test_rejected_rows_can_be_asked_for(client: httpx.Client) -> None:
    lines = b"".join(f"2020-03-{day:02},1,1\n".encode() for day in range(1, 20))
    assert send(client, HEADER + lines + b"2020-03-20,=1+1,1\n", batch="formula").json()["rejected"] == 1
    [row] = client.get("/v1/tables/covid/rejected", params={"region": "omsk", "limit": 1}).json()
    assert (row["row"], row["batch"], row["reason"]) == (20, "formula", "confirmed is no integer: =1+1")


@pytest.mark.parametrize(
    ("data", "kind", "asked", "status", "words"),
    [
        (b"date^confirmed^deaths\n1^2^3\n", "text/csv", {}, 422, "no table of two columns or more"),
        (b"\xff\xfed\x00", "text/csv", {}, 422, "not UTF-8"),
        (b"date,confirmed\n2020-03-01,5\n", "text/csv", {}, 422, "no column 'deaths'"),
        (HEADER + b"2020-03-01,,\n", "text/csv", {}, 422, "no value in any column"),
        (HEADER + b'2020-03-01,"1\n0",0\n', "text/csv", {}, 422, "confirmed is no integer: 1 0"),
        (b"PAR1 and no more", "application/vnd.apache.parquet", {}, 422, "cannot be read as Parquet"),
        (b"{", "application/json", {}, 422, "the JSON cannot be read"),
        (GOOD, "application/pdf", {}, 415, "application/pdf is not taken"),
        (GOOD, "text/csv", {"region": "omks"}, 404, "did you mean 'omsk'"),
        (GOOD, "text/csv", {"region": "../omsk"}, 400, "not a name of a region"),
        (b"", "text/csv", {}, 422, ""),
    ],
)
def test_bad_input_is_a_problem_that_says_what_where_and_what_to_do(
    client: httpx.Client, data: bytes, kind: str, asked: dict[str, str], status: int, words: str
) -> None:
    before = client.get("/v1/tables").json()
    answer = send(client, data, kind, **asked)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert words in problem["title"] + problem["do"]
    assert problem["where"]
    assert client.get("/v1/tables").json() == before


def test_a_region_has_to_be_named_and_a_table_to_take_rows(client: httpx.Client) -> None:
    assert client.post(ROWS, content=GOOD, headers=CSV).status_code == 400
    answer = client.post("/v1/tables/covit/rows", params={"region": "omsk"}, content=GOOD, headers=CSV)
    assert (answer.status_code, "did you mean 'covid'" in answer.json()["do"]) == (404, True)
    assert client.get("/v1/tables/candles/regions").status_code == 404


def test_the_same_batch_with_other_content_is_a_conflict(client: httpx.Client) -> None:
    send(client, GOOD, batch="once")
    answer = send(client, HEADER + b"2020-03-01,6,0\n", batch="once")
    assert (answer.status_code, answer.json()["type"]) == (409, "/docs#Conflict")


def test_a_packed_body_is_not_taken(client: httpx.Client) -> None:
    headers = CSV | {"content-encoding": "gzip"}
    assert client.post(ROWS, params={"region": "omsk"}, content=GOOD, headers=headers).status_code == 415


@pytest.mark.parametrize("announced", [True, False])
def test_two_gigabytes_are_refused_while_they_come_and_memory_stays_flat(
    server: tuple[httpx.Client, psutil.Process], announced: bool
) -> None:
    client, process = server
    before, sent = process.memory_info().rss, 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 2 * GIB:
            sent += 2**20
            yield b"2020-03-01,5,00\n" * 2**16

    headers = CSV | ({"content-length": str(2 * GIB)} if announced else {})
    try:
        answer = client.post(ROWS, params={"region": "omsk"}, content=endless(), headers=headers)
    except (httpx.WriteError, httpx.ReadError):  # the server has hung up while the rest was still being sent
        answer = None
    if answer is not None:
        assert (answer.status_code, answer.json()["type"]) == (413, "/docs#TooLarge")
    assert sent < 200 * 2**20
    assert process.memory_info().rss - before < 60 * 2**20
    assert send(client, GOOD).status_code == 200


def test_a_sender_that_hangs_up_in_the_middle_leaves_nothing(client: httpx.Client, config: Path) -> None:
    def cut() -> Iterator[bytes]:
        yield HEADER
        raise ConnectionResetError

    before = client.get("/v1/tables").json()
    with pytest.raises(ConnectionResetError):
        send(client, cut(), batch="cut")
    assert client.get("/v1/tables").json() == before
    assert "Traceback" not in (config.parent / "log").read_text()


def test_the_command_lists_regions_and_rejected_rows(
    config: Path, client: httpx.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*more: str) -> str:
        main(["--config", str(config), "regions", "covid", *more])
        captured = capsys.readouterr()
        return captured.out + captured.err

    send(client, GOOD)
    assert [one["region"] for one in json.loads(said("--json"))["regions"]] == ["region 00", "region 01", "omsk"]
    assert "last arrival" in said()
    assert "no period is complete yet; for the newest one waited for: region 00, region 01" in " ".join(said().split())
    send(client, b"date\n", batch="refused")
    assert json.loads(said("--rejected", "--region", "omsk", "--json"))[0]["batch"] == "refused"
    assert "refused" in said("--rejected")


def test_85_regions_that_send_some_batches_twice_and_some_late_leave_the_table_of_the_file(
    tmp_path: Path, real_data: Path
) -> None:
    rows = counts(real_data)
    config = make_config(tmp_path, more=f"regions = {quoted(rows['region'].unique(maintain_order=True))}")
    chance = random.Random(85)
    batches = weekly(rows, weeks=3)
    late = set(chance.sample(range(len(batches)), 50))
    order = [one for at, one in enumerate(batches) if at not in late] + [batches[at] for at in sorted(late)]
    twice = chance.sample(batches, 60)
    with serving(config) as (url, _), httpx.Client(base_url=url, timeout=120) as client:

        def post(batch: Batch) -> dict[str, Any]:
            asked = {"region": batch.region, "batch": batch.name}
            answer = client.post(ROWS, params=asked, content=batch.csv, headers=CSV)
            assert answer.status_code == 200, answer.text
            return dict(answer.json())

        with ThreadPoolExecutor(85) as senders:
            receipts = list(senders.map(post, order + twice))
        known = client.get("/v1/tables/covid/regions").json()
    assert sum(receipt["repeated"] for receipt in receipts) == len(twice)
    home = open_home(read_settings(config, environ={}))
    assert table_as_sent(home).equals(rows.sort("region", "date"))
    assert (known["expected"], len(known["regions"])) == (85, 85)
    assert {one["rows"] for one in known["regions"]} == {102}
    assert known["complete"] == "2020-04-20T00:00:00Z"  # the last week of the file ends on a Saturday


LEARNING = """\
[home]
store = "./var"
database = "sqlite:///var/springtide.db"

[serve]
port = 0

[sources.loads]
kind = "rows"
values = { y = "number" }
timeframe = "1h"
regions = ["omsk", "tver"]
period = "7d"
full = 168

[models.loads]
task = "forecast"
table = "loads"
window = 24
horizon = 4
budget = "60s"
max_steps = 20
validation = "5d"
[models.loads.retrain]
regions = true
[models.loads.gate]
judge = "10d"
baselines = ["last-value"]
first = "always"
"""
FIRST_MONDAY, WEEKS = datetime(2024, 1, 1, tzinfo=UTC), 9


def hours_of(week: int) -> bytes:
    """A week of hourly rows, as CSV."""
    hours = range(168 * week, 168 * (week + 1))
    rows = (f"{FIRST_MONDAY + timedelta(hours=hour)},{100 + 10 * math.sin(hour / 12):.3f}" for hour in hours)
    return "\n".join(["ds,y", *rows]).encode()


def test_the_report_of_the_last_region_starts_a_run_that_learns_from_what_all_have_sent(tmp_path: Path) -> None:
    config = tmp_path / "springtide.toml"
    config.write_text(LEARNING, encoding="utf-8")
    with serving(config) as (url, _), httpx.Client(base_url=url, timeout=60) as client, Workers(tmp_path, count=1):

        def report(region: str, week: int) -> None:
            asked = {"region": region, "batch": f"week {week}"}
            answer = client.post("/v1/tables/loads/rows", params=asked, content=hours_of(week), headers=CSV)
            assert (answer.status_code, answer.json().get("new")) == (200, 168), answer.text

        def runs() -> list[dict[str, Any]]:
            return list(client.get("/v1/runs", params={"model": "loads"}).json())

        for week in range(WEEKS):
            report("omsk", week)
        time.sleep(8)  # the scheduler looks every five seconds
        assert runs() == []
        assert client.get("/v1/tables/loads/regions").json()["waiting_for"] == ["tver"]
        report("tver", WEEKS - 1)
        deadline = time.monotonic() + 200
        while not (found := runs()) or found[0]["state"] not in ("succeeded", "failed", "cancelled"):
            assert time.monotonic() < deadline, found
            time.sleep(0.2)
        [run] = found
    assert (run["state"], run["failure"]) == ("succeeded", None)
    said = "all 2 regions have reported for the period from 2024-02-26 00:00 UTC"
    assert run["reasons"] == [said]
    home = open_home(read_settings(config, environ={}))
    version = home.registry.version("loads", run["version"])
    assert (version.verdict.promote, home.registry.champion("loads").number) == (True, version.number)
    assert version.manifest.snapshot.rows == (WEEKS + 1) * 168
