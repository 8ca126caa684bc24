"""One server process, asked over HTTP while the world around it changes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
from tests.serving_world import HORIZON, ROWS, SERIES, START, WINDOW, World, candles, make_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BTC = SERIES[0]
FORECAST = "/v1/models/btc/forecast"


@contextmanager
def running(world: World) -> Iterator[tuple[httpx.Client, subprocess.Popen[str]]]:
    """A server process of this world; warnings are errors in it."""
    command = [sys.executable, "-W", "error", "-m", "springtide.api.main", "--config", str(world.config)]
    with (
        (world.folder / "log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        try:
            with httpx.Client(base_url=url, timeout=20) as client:
                yield client, process
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = make_world(tmp_path_factory.mktemp("world"))
    world.promote(world.publish(0.0))
    return world


@pytest.fixture(scope="module")
def server(world: World) -> Iterator[tuple[httpx.Client, subprocess.Popen[str]]]:
    with running(world) as started:
        yield started


@pytest.fixture(scope="module")
def client(server: tuple[httpx.Client, subprocess.Popen[str]]) -> httpx.Client:
    return server[0]


@pytest.fixture(scope="module")
def process(server: tuple[httpx.Client, subprocess.Popen[str]]) -> psutil.Process:
    return psutil.Process(server[1].pid)


def rows(count: int = WINDOW) -> list[dict[str, Any]]:
    lines = candles(count, first=ROWS - count, series=(BTC,)).to_dicts()
    return [row | {"ds": row["ds"].isoformat()} for row in lines]


def test_a_forecast_comes_as_records_with_times_in_utc(client: httpx.Client) -> None:
    answer = client.get(FORECAST, params={"series": BTC}).json()
    assert len(answer["forecast"]) == HORIZON
    first = answer["forecast"][0]
    assert (first["unique_id"], first["ds"], first["cutoff"]) == (BTC, "2024-01-05T04:00:00Z", "2024-01-05T03:00:00Z")
    assert first["btc-lo-90"] < first["btc-lo-80"] < first["btc"] < first["btc-hi-80"] < first["btc-hi-90"]


def test_a_forecast_comes_as_columns_when_asked(client: httpx.Client) -> None:
    records = client.get(FORECAST, params={"series": list(SERIES)}).json()["forecast"]
    columns = client.get(FORECAST, params={"series": list(SERIES), "format": "columns"}).json()["columns"]
    assert [dict(zip(columns, line, strict=True)) for line in zip(*columns.values(), strict=True)] == records


def test_prediction_takes_rows_and_columns(client: httpx.Client) -> None:
    by_rows = client.post("/v1/models/btc/predict", json={"rows": rows()}).json()
    columns = {name: [row[name] for row in rows()] for name in rows()[0]}
    by_columns = client.post("/v1/models/btc/predict", json={"columns": columns}).json()
    assert by_rows == by_columns
    assert len(by_rows["forecast"]) == HORIZON


def test_the_open_inference_protocol_answers_what_its_metadata_promises(client: httpx.Client) -> None:
    metadata = client.get("/v2/models/btc").json()
    inputs = [
        form | {"shape": shape, "data": [1] * size}
        for form, shape, size in zip(
            metadata["inputs"], ([1, WINDOW, 5], [1, WINDOW], [1]), (WINDOW * 5, WINDOW, 1), strict=True
        )
    ]
    answer = client.post("/v2/models/btc/infer", json={"inputs": inputs}).json()
    assert answer["model_name"] == "btc"
    assert answer["outputs"][0]["shape"] == [1, *metadata["outputs"][0]["shape"][1:]]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "hint"),
    [
        ("GET", "/v1/models/btcc/forecast", None, 404, "did you mean 'btc'"),
        ("GET", FORECAST + "?series=BTC/USD", None, 404, "did you mean 'BTC/USDT'"),
        ("GET", FORECAST + "?format=xml", None, 400, ""),
        ("GET", "/v1/modls", None, 404, "did you mean /v1/models"),
        ("GET", "/v1/runs/nothing", None, 404, "springtide runs"),
        ("GET", "/v1/runs?limit=0", None, 400, ""),
        ("DELETE", "/v1/models", None, 405, ""),
        ("POST", "/v1/models/btc/predict", b"{", 400, ""),
        ("POST", "/v1/models/btc/predict", b"{}", 422, "send one of them"),
        ("POST", "/v1/models/btc/predict", b'{"rowz": []}', 400, ""),
        ("POST", "/v1/models/btc/predict", b'{"rows": []}', 422, "window"),
        ("POST", "/v1/models/btc/predict", b'{"rows": [{"unique_id": "a", "ds": "now"}]}', 422, "2024-01-31T13:00:00Z"),
        ("POST", "/v2/models/btc/infer", b'{"inputs": []}', 422, "send exactly candles"),
        ("POST", "/v1/models/btc/promote", b'{"version": 99}', 404, "the newest is btc@1"),
        ("POST", "/v1/models/btc/promote", b'{"version": "one"}', 400, ""),
        ("POST", "/v1/models/btc/rollback", None, 409, "promote a version"),
    ],
)
def test_an_error_says_what_where_and_what_to_do(
    client: httpx.Client, method: str, path: str, body: bytes | None, status: int, hint: str
) -> None:
    response = client.request(method, path, content=body, headers={"content-type": "application/json"})
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem.keys() == {"type", "title", "status", "where", "do"}
    assert problem["status"] == status
    assert all(problem.values())
    assert hint in problem["do"]
    assert "Traceback" not in response.text


@pytest.mark.parametrize("announced", [True, False], ids=["its length is announced", "it comes in pieces"])
def test_a_body_over_eight_megabytes_is_not_read(client: httpx.Client, *, announced: bool) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(10):
            yield b" " * 2**20

    body = b" " * (10 * 2**20) if announced else pieces()
    response = client.post("/v1/models/btc/predict", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 413
    assert "8,000,000 bytes" in response.json()["title"]


def test_the_documents_list_every_route_and_load_nothing_from_elsewhere(client: httpx.Client) -> None:
    schema = client.get("/docs/openapi.json").json()
    page = client.get("/docs").text
    assert FORECAST.replace("btc", "{name}") in schema["paths"]
    assert all(path in page for path in schema["paths"])
    assert not any(word in page for word in ("<script", "http://", "https://", "src="))
    assert client.get("/docs/openapi.yaml").status_code == 200


def test_the_metrics_count_requests_and_name_the_version_that_serves(client: httpx.Client) -> None:
    def count() -> int:
        name = 'springtide_requests_total{route="/healthz",method="GET",status="200"}'
        lines = client.get("/metrics").text.splitlines()
        return sum(int(line.split()[-1]) for line in lines if line.startswith(name))

    before = count()
    assert client.get("/healthz").status_code == 200
    assert count() == before + 1
    text = client.get("/metrics").text
    assert 'springtide_model_version{model="btc"} 1\n' in text
    assert 'springtide_request_seconds_bucket{route="/healthz",le="+Inf"}' in text


def test_the_process_has_110_megabytes_of_its_own_beside_its_libraries(
    client: httpx.Client, process: psutil.Process
) -> None:
    for _ in range(200):
        assert client.get(FORECAST).status_code == 200
    # The rest of what is resident is code of libraries, read from files: the system maps as much as it happens to cache.
    assert process.memory_full_info().uss < 125e6


def test_the_process_has_loaded_no_training_library(client: httpx.Client, process: psutil.Process) -> None:
    assert client.get("/readyz").status_code == 200
    loaded = {each.path for each in process.memory_maps()}
    assert not [path for path in loaded if "libtorch" in path or "/torch/" in path]


class Hammer:
    """Clients that ask for forecasts as fast as they can, and keep what they were told."""

    def __init__(self, url: str, clients: int = 3) -> None:
        self.versions: list[int] = []
        self.failures: list[str] = []
        self.mixed: list[Any] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(url,)) for _ in range(clients)]

    def __enter__(self) -> Hammer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, url: str) -> None:
        with httpx.Client(base_url=url, timeout=20) as client:
            while not self._stop.is_set():
                response = client.get(FORECAST, params={"series": BTC})
                if response.status_code != 200:
                    self.failures.append(response.text)
                    continue
                answer = response.json()
                self.versions.append(answer["version"])
                # version n drifts by n hundredths, so the number in the answer must agree with the forecast beside it
                if abs(answer["forecast"][0]["btc"] / 199.0 - 1 - answer["version"] / 100) > 1e-9:
                    self.mixed.append(answer)


def wait_for(client: httpx.Client, version: int) -> None:
    until = time.monotonic() + 10
    while client.get(FORECAST).json()["version"] != version:
        assert time.monotonic() < until, f"version {version} never served"
        time.sleep(0.01)


def test_no_request_fails_while_champions_come_and_go(tmp_path: Path) -> None:
    world = make_world(tmp_path, poll_s=0.02)
    world.promote(world.publish(0.01))
    with running(world) as (client, _), Hammer(str(client.base_url)) as hammer:
        for number in (2, 3, 4):
            world.promote(world.publish(number / 100))
            wait_for(client, number)
        damaged = world.publish(0.05)
        world.blob(damaged, "model.onnx").write_bytes(b"damaged")
        world.promote(damaged)  # version 5 must never serve
        world.promote(world.publish(0.06, wrong_probe=True))  # nor 6
        refused = {"version": 6}
        until = time.monotonic() + 10
        while (client.get("/v1/models/btc").json()["refusal"] or {}).get("version") != refused["version"]:
            assert time.monotonic() < until
        assert "btc@6 was refused" in client.get(FORECAST).json()["warning"]
        assert client.post("/v1/models/btc/promote", json={"version": 5}).status_code == 409
        assert client.post("/v1/models/btc/promote", json={"version": 3, "by": "ada"}).json()["serving"] == 3
        assert client.get(FORECAST).json()["version"] == 3
        for expected in (6, 5, 4):  # back over the champions that were refused here, to the one that was not
            assert client.post("/v1/models/btc/rollback").json()["serving"] == expected
        wait_for(client, 4)
        world.promote(world.publish(0.07))
        wait_for(client, 7)
        client.post("/v1/models/btc/rollback", json={"by": "ada"})
        wait_for(client, 4)
        assert json.dumps(client.get("/v1/models/btc/journal").json()[0]["by"]) == '"ada"'
    assert hammer.failures == []
    assert hammer.mixed == []
    assert {2, 3, 4, 7} <= set(hammer.versions) <= {1, 2, 3, 4, 7}
    assert len(hammer.versions) > 100


def test_a_server_without_a_champion_starts_says_that_it_is_not_ready_and_becomes_ready(tmp_path: Path) -> None:
    world = make_world(tmp_path, poll_s=0.02)
    with running(world) as (client, _):
        assert client.get("/healthz").status_code == 200
        problem = client.get("/readyz")
        assert (problem.status_code, problem.json()["missing"]) == (503, ["btc"])
        assert client.get(FORECAST).status_code == 503
        world.promote(world.publish(0.0))
        until = time.monotonic() + 10
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < until


def test_what_has_expired_is_refused_until_new_rows_come(tmp_path: Path) -> None:
    world = make_world(tmp_path, poll_s=0.02, expires='data = "6h"')  # its rows are of January 2024
    world.promote(world.publish(0.0))
    with running(world) as (client, _):
        [card] = client.get("/v1/models").json()
        assert (card["state"], card["expires_at"]) == ("expired", "2024-01-05T10:00:00Z")
        problem = client.get(FORECAST, params={"series": BTC})
        assert (problem.status_code, problem.json()["state"]) == (503, "expired")
        assert "springtide ingest" in problem.json()["do"]
        assert len(client.post("/v1/models/btc/predict", json={"rows": rows()}).json()["forecast"]) == HORIZON
        assert client.get("/readyz").json()["expired"] == ["btc"]
        closed = int((datetime.now(UTC) - START) / timedelta(hours=1))
        world.home.lake.table("candles").write(candles(ROWS, first=closed - ROWS, series=(BTC,)))
        until = time.monotonic() + 10
        while (answer := client.get(FORECAST)).status_code != 200:
            assert time.monotonic() < until
        states = {series: one["state"] for series, one in answer.json()["states"].items()}
        assert states == {BTC: "serving", SERIES[1]: "expired"}
        assert {line["unique_id"] for line in answer.json()["forecast"]} == {BTC}
        assert client.get("/v1/models/btc").json()["state"] == "serving"


def test_a_stopped_server_finishes_what_it_has_begun_and_exits_cleanly(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    world.promote(world.publish(0.0))
    body = json.dumps({"rows": rows()}).encode()
    with running(world) as (client, process):

        def slow_body() -> Iterator[bytes]:
            yield body[:100]
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            yield body[100:]

        response = client.post(
            "/v1/models/btc/predict", content=slow_body(), headers={"content-type": "application/json"}
        )
        assert response.status_code == 200
        assert len(response.json()["forecast"]) == HORIZON
        assert process.wait(10) == 0
    log = (world.folder / "log").read_text()
    assert "Traceback" not in log


def test_a_port_that_is_taken_is_refused_in_words(tmp_path: Path, client: httpx.Client) -> None:
    world = make_world(tmp_path)
    taken = client.base_url.port
    world.config.write_text(world.config.read_text().replace("port = 0", f"port = {taken}"))
    command = [sys.executable, "-m", "springtide.api.main", "--config", str(world.config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert f"127.0.0.1:{taken} cannot be used" in done.stderr
    assert "Traceback" not in done.stderr
