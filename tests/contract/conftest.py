"""Real servers that more than one contract needs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from socket import socket
from typing import TYPE_CHECKING

import pytest
from tests.engines import bare_bubblewrap, bare_container

from springtide.domain.errors import NotReady
from springtide.sandbox.bubblewrap import Bubblewrap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from springtide.sandbox.seam import Engine


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """The address of a real S3 server on loopback with the bucket ``models``."""
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    _make_bucket(f"{url}/models")
    yield url
    server.kill()
    server.wait()


def _make_bucket(url: str) -> None:
    """The first request waits until the server is up."""
    for _ in range(300):
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="PUT")).close()
        except urllib.error.URLError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("the S3 server did not start")


CONTAINERS = "SPRINGTIDE_TEST_CONTAINERS"  # set it where podman and debootstrap are; the base image takes a minute


@pytest.fixture(scope="session", params=["bubblewrap", *(["container"] if os.environ.get(CONTAINERS) else [])])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Every engine with an environment ``bare``, that has no packages, and one that was never built."""
    folder = tmp_path_factory.mktemp("engine")
    if request.param == "container":
        with bare_container(folder) as made:
            yield made
        return
    try:
        Bubblewrap.check()
    except NotReady as missing:
        pytest.skip(f"{missing.what}: {missing.do}")
    yield bare_bubblewrap(folder)
