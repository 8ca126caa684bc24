"""Jobs as their clients know them: a server and a worker as processes, the Python client, the command line and curl."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
from tests import killing
from tests.engines import need_bubblewrap
from tests.environments import FOLDER, find_environment
from tests.regions_world import serving

from springtide.app.home import open_home, read_settings
from springtide.cli.main import main
from springtide.client import Client, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST = 100_000_000
SCRIPT = """\
import time

def train(data, model_path, out_path, params, report):
    for number in range(1000):
        report(progress=number / 1000, note="at work")
        print("round", number)
        time.sleep(0.05)
"""


@dataclass
class Service:
    """A server and a worker of one home."""

    folder: Path
    url: str
    server: psutil.Process
    client: Client

    def submit(self, data: Path | None = None, **asked: Any) -> dict[str, Any]:
        """Send a job."""
        return self.client.submit(
            data or self.folder / "sales.csv", **{"target": "sold", "framework": "lightgbm", "budget_s": 30, **asked}
        )


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Jobs run under bubblewrap with LightGBM."""
    need_bubblewrap()
    folder = tmp_path_factory.mktemp("service")
    find_environment("boosting", folder)
    config = folder / "springtide.toml"
    config.write_text(
        f'[serve]\nport = 0\n[sandbox]\nengine = "bubblewrap"\nenvironments = "{FOLDER}"\n[jobs]\nmax_body = {MOST}\n'
    )
    open_home(read_settings(config, environ={})).registry.engine.dispose()
    (folder / "sales.csv").write_bytes(sales(300))
    with ExitStack() as stack:
        url, process = stack.enter_context(serving(config))
        stack.enter_context(killing.Workers(folder, count=1, grace_s=5))
        yield Service(folder, url, psutil.Process(process.pid), stack.enter_context(Client(url)))


def sales(rows: int) -> bytes:
    """Synthetic sales: more in large shops, with a rhythm."""
    lines = (f"{number},{10 + number % 13},{3 * (number % 13) + math.sin(number / 7):.3f}" for number in range(rows))
    return "\n".join(["day,size,sold", *lines]).encode()


@pytest.fixture(scope="module")
def done(service: Service) -> dict[str, Any]:
    """A job of the client that has ended."""
    sent = service.submit(name="sales", key="week 7")
    assert sent["state"] == "queued"
    ended = service.client.wait(sent["id"], patience_s=120)
    assert ended["state"] == "succeeded", ended["failure"]
    return ended


def test_a_table_becomes_a_model_with_a_verdict(service: Service, done: dict[str, Any]) -> None:
    assert done["better"]
    assert "every baseline is beaten" in done["verdict"]
    assert [step["name"] for step in done["steps"]] == ["check", "train", "predict", "judge", "export", "publish"]
    assert done["metrics"]["challenger"]["rmse"] < done["metrics"]["mean"]["rmse"] / 2
    assert done["id"] in [one["id"] for one in service.client.jobs()]


def test_the_model_is_fetched_whole_or_by_file_and_sent_back_to_be_gone_on_with(
    service: Service, done: dict[str, Any], tmp_path: Path
) -> None:
    archive = service.client.download(done["id"], to=tmp_path / "model.zip")
    graph = service.client.download(done["id"], to=tmp_path / "model.onnx", file="model.onnx")
    with zipfile.ZipFile(archive) as packed:
        assert sorted(packed.namelist()) == done["outputs"]
        assert packed.read("model.onnx") == graph.read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []
    later = service.client.wait(service.submit(model=archive)["id"], patience_s=120)
    assert later["state"] == "succeeded", later["failure"]
    assert "the given model" in later["metrics"]
    with pytest.raises(Refused, match="has no file 'weights'"):
        service.client.download(done["id"], to=tmp_path / "x", file="weights")


def test_what_was_promoted_answers_at_once(service: Service, done: dict[str, Any]) -> None:
    rows = [{"day": 300 + number, "size": 10 + number} for number in (0, 12)]
    asked = f"{service.url}/v1/models/{done['model']}/predict?format=columns"
    small, large = httpx.post(asked, json={"rows": rows}).raise_for_status().json()["columns"]["sold"]
    assert small + 5 < large
    metadata = httpx.get(f"{service.url}/v2/models/{done['model']}").raise_for_status().json()
    assert metadata["versions"] == ["1"]


def test_a_model_of_a_job_is_listed_described_and_promoted_by_hand(service: Service, done: dict[str, Any]) -> None:
    name = done["model"]
    with httpx.Client(base_url=f"{service.url}/v1/models") as http:
        cards = {card["model"]: card for card in http.get("/").raise_for_status().json()}
        assert (cards[name]["state"], cards[name]["version"]) == ("serving", 1)
        assert http.get(f"/{name}").raise_for_status().json()["serving"]["run"] == done["id"]
        line = http.post(f"/{name}/promote", json={"version": 1, "by": "anna"}).raise_for_status().json()
        assert (line["action"], line["serving"]) == ("promote", 1)  # it serves already
        assert http.get("/nobody").status_code == 404


def test_the_same_key_is_the_same_job(service: Service, done: dict[str, Any]) -> None:
    assert service.submit(name="sales", key="week 7")["id"] == done["id"]
    with pytest.raises(Refused, match="was used for another job") as refused:
        service.submit(name="sales", key="week 7", seed=5)
    assert refused.value.status == 409


def test_the_command_line_does_the_same(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(service.folder)
    asked = ["jobs", "submit", "sales.csv", "--target", "sold", "--framework", "lightgbm", "--budget", "3"]
    main([*asked, "--follow", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["state"] == "succeeded"
    main(["jobs", "download", told["id"], "--to", str(tmp_path)])
    assert zipfile.is_zipfile(next(tmp_path.iterdir()))
    main(["jobs", "status", told["id"]])
    assert "succeeded" in capsys.readouterr().out
    main(["jobs", "list", "--limit", "3"])
    assert told["id"] in capsys.readouterr().out


def test_a_script_reports_while_it_runs_and_is_cancelled(service: Service, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    job = service.submit(script=script)
    for event in service.client.events(job["id"]):
        if event.get("kind") == "report" and event["body"].get("progress", 0) > 0.005:
            break
    service.client.cancel(job["id"])
    ended = service.client.wait(job["id"], patience_s=10)
    assert ended["state"] == "cancelled"
    assert "round 3\n" in service.client.logs(job["id"])
    assert ended["verdict"] is None
    with pytest.raises(Refused, match="made no model"):
        service.client.download(job["id"], to=tmp_path / "model.zip")


def test_curl_sends_a_job_and_is_told_what_is_wrong_with_it(service: Service) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not there")
    asked = ["curl", "-s", "-F", "data=@sales.csv", "-F", 'params={"target": "sould"}', f"{service.url}/v1/jobs"]
    said = json.loads(subprocess.run(asked, cwd=service.folder, check=True, capture_output=True).stdout)
    ended = service.client.wait(said["id"], patience_s=60)
    assert ended["state"] == "failed"
    assert "there is no column 'sould'" in ended["failure"]["what"]
    assert "sold" in ended["failure"]["do"]


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [("params", 413, "field 'params' is larger than 1,000,000 bytes"), ("data", 422, "field 'data' is no file")],
)
def test_a_field_that_should_be_a_file_is_refused_before_it_fills_the_memory(
    service: Service, name: str, status: int, words: str
) -> None:
    before = service.server.memory_info().rss
    form: dict[str, Any] = {"params": (None, b'{"target": "sold"}'), "data": ("sales.csv", sales(100))}
    answer = httpx.post(f"{service.url}/v1/jobs", files=form | {name: (None, b" " * 60_000_000)}, timeout=60)
    assert (answer.status_code, answer.json()["title"]) == (status, words)
    assert service.server.memory_info().rss - before < 20_000_000


def test_a_job_that_is_too_large_is_refused_and_a_large_one_is_not_held_in_memory(
    service: Service, tmp_path: Path
) -> None:
    large = tmp_path / "large.csv"
    with large.open("wb") as file:
        file.write(sales(100))
        file.truncate(MOST - 100_000)
    before = service.server.memory_info().rss
    job = service.submit(large)
    assert service.server.memory_info().rss - before < MOST / 3
    assert service.client.wait(job["id"], patience_s=60)["state"] == "failed"  # it ends in zeros
    with large.open("ab") as file:
        file.truncate(MOST + 1)
    with pytest.raises(Refused, match="larger than the 100,000,000 bytes") as refused:
        service.submit(large)
    assert refused.value.status == 413
