"""Which engine is taken, and what is said where there is none."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from tests.engines import need_bubblewrap

from springtide.domain.errors import NotInstalled, NotReady
from springtide.sandbox.finding import Kind, find_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from springtide.sandbox.seam import Engine

GOOD = {
    "MemoryLimit": True,
    "PidsLimit": True,
    "CpuCfsQuota": True,
    "SecurityOptions": ["name=seccomp,profile=default"],
}


@contextmanager
def engine_that_says(facts: dict[str, Any]) -> Iterator[str]:
    """A server that answers as a container engine does when it is asked what it is."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found: Any = facts if self.path.endswith("/info") else {"ApiVersion": "1.44"}
            body = json.dumps([] if "/containers/json" in self.path else found).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"tcp://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def find(kind: Kind, folder: Path, host: str | None) -> Engine:
    environ = {} if host is None else {"DOCKER_HOST": host}
    return find_engine(kind, environments=folder, base_image="none", environ=environ)


def test_an_engine_that_answers_and_holds_limits_is_taken(tmp_path: Path) -> None:
    with engine_that_says(GOOD) as url:
        assert find("auto", tmp_path, url).name == "container"


@pytest.mark.parametrize("lacking", GOOD)
def test_an_engine_that_cannot_hold_a_limit_is_refused_by_its_name(tmp_path: Path, lacking: str) -> None:
    poor = {**GOOD, lacking: [] if lacking == "SecurityOptions" else False}
    with (
        engine_that_says(poor) as url,
        pytest.raises(NotReady, match="seccomp" if lacking == "SecurityOptions" else lacking),
    ):
        find("container", tmp_path, url)


def test_an_engine_that_does_not_answer_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="does not answer") as refused:
        find("container", tmp_path, f"unix://{tmp_path}/none.sock")
    assert refused.value.where == f"unix://{tmp_path}/none.sock"


def test_bubblewrap_is_taken_where_no_engine_answers(tmp_path: Path) -> None:
    need_bubblewrap()
    assert find("auto", tmp_path, f"unix://{tmp_path}/none.sock").name == "bubblewrap"


def test_where_there_is_neither_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotReady) as refused:
        find("auto", tmp_path, f"unix://{tmp_path}/none.sock")
    assert "does not answer" in refused.value.what
    assert "bubblewrap and util-linux is not installed" in refused.value.what
    assert "apt-get install bubblewrap util-linux" in refused.value.do
    monkeypatch.setattr("springtide.sandbox.finding._sockets", lambda _environ: [])
    with pytest.raises(NotInstalled, match="bubblewrap and util-linux is not installed"):
        find_engine("bubblewrap", environments=tmp_path, base_image="none", environ={})


def test_where_there_is_no_sandbox_plain_processes_take_only_what_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("springtide.sandbox.finding._sockets", lambda _environ: [])
    engine = find("auto", tmp_path, "")
    assert engine.name == "plain"
    with pytest.raises(NotInstalled, match="no container engine was found; bubblewrap") as refused:
        engine.admit_foreign()
    assert "install Docker or podman" in refused.value.do
