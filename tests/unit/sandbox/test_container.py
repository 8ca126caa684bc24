"""What is special to containers: images that were made for scripts do not fill the disk."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import docker

from springtide.sandbox.container import _discard_layers, _lines

if TYPE_CHECKING:
    from collections.abc import Iterator

BASE = f"localhost/springtide-boosting:{'a' * 16}"


@contextmanager
def engine_with(images: list[dict[str, Any]], *, used: str = "") -> Iterator[tuple[docker.APIClient, list[str]]]:
    """A server that has images as a container engine has, and what was removed of them."""
    removed: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, images if "/images/json" in self.path else {"ApiVersion": "1.44"})

        def do_DELETE(self) -> None:
            name = unquote(self.path.partition("/images/")[2].partition("?")[0])
            if name == used:
                self._answer(409, {"message": "a container has it"})
                return
            removed.append(name)
            self._answer(200, [])

        def _answer(self, code: int, said: Any) -> None:
            body = json.dumps(said).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        client = docker.APIClient(base_url=f"tcp://127.0.0.1:{server.server_port}", version="1.44")
        yield client, removed
        client.close()
        server.shutdown()
        thread.join()


def layer(number: int) -> str:
    return f"{BASE}-{number:016x}"


def images(sizes: list[int]) -> list[dict[str, Any]]:
    """A framework's image of 1000 bytes, and layers on top of it, the oldest first; and what is none of ours to remove."""
    made = [{"RepoTags": [layer(n)], "Size": 1000 + size, "Created": n} for n, size in enumerate(sizes)]
    return [{"RepoTags": [BASE], "Size": 1000, "Created": 0}, {"RepoTags": None, "Size": 9, "Created": 0}, *made]


def test_of_many_layers_the_oldest_are_removed_and_none_that_a_container_has() -> None:
    with engine_with(images([1, 1, 1, 1]), used=layer(1)) as (client, removed):
        _discard_layers(client, most=1)
    assert removed == [layer(2), layer(0)]


def test_layers_count_with_what_they_add_to_their_framework_and_the_newest_stays() -> None:
    with engine_with(images([50, 50, 50])) as (client, removed):
        _discard_layers(client, room=100)
    assert removed == [layer(0)]
    with engine_with(images([500])) as (client, removed):
        _discard_layers(client, room=100)
    assert removed == []


def test_what_a_build_says_holds_no_password() -> None:
    said = {"stream": "Looking in indexes: https://me:s3cr3t@host/simple\n\nSuccessfully built\n"}
    assert _lines(said) == ["Looking in indexes: https://me:***@host/simple", "Successfully built"]
