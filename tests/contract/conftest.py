"""Real servers and engines that more than one contract needs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from tests import stores
from tests.engines import bare_bubblewrap, bare_container, need_bubblewrap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from springtide.sandbox.seam import Engine


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """The address of a real S3 server on loopback with the bucket ``models``."""
    with stores.s3_server() as url:
        stores.make_bucket(url, "models")
        yield url


CONTAINERS = "SPRINGTIDE_TEST_CONTAINERS"  # set it where podman and debootstrap are; the base image takes a minute


@pytest.fixture(scope="session", params=["bubblewrap", *(["container"] if os.environ.get(CONTAINERS) else [])])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Every engine with an environment ``bare``, that has no packages, and one that was never built."""
    folder = tmp_path_factory.mktemp("engine")
    if request.param == "container":
        with bare_container(folder) as made:
            yield made
        return
    need_bubblewrap()
    yield bare_bubblewrap(folder)
