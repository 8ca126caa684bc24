"""Real servers that more than one contract needs."""

from __future__ import annotations

import os
import shutil
import venv
from typing import TYPE_CHECKING

import pytest
from tests import stores
from tests.containers import base_image, podman_service

from springtide.domain.errors import NotReady
from springtide.sandbox.bubblewrap import Bubblewrap
from springtide.sandbox.container import Container
from springtide.sandbox.environments import IMAGES, Environments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from springtide.sandbox.seam import Engine


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """The address of a real S3 server on loopback with the bucket ``models``."""
    with stores.s3_server() as url:
        stores.make_bucket(url, "models")
        yield url


@pytest.fixture(scope="session", params=["bubblewrap", pytest.param("container", marks=pytest.mark.slow)])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Every engine with an environment ``bare``, that has no packages, and one that was never built.

    Containers only where ``SPRINGTIDE_TEST_CONTAINERS`` is set: they need podman, and a base image takes a minute.
    """
    images = tmp_path_factory.mktemp("images")
    for name in ("bare", "unbuilt"):
        shutil.copytree(IMAGES / "tensorflow", images / name)
        (images / name / "requirements.txt").write_text(f"# {name}\n")
    if request.param == "bubblewrap":
        try:
            Bubblewrap.check()
        except NotReady as missing:
            pytest.skip(f"{missing.what}: {missing.do}")
        folder = tmp_path_factory.mktemp("environments")
        environments = Environments(folder, images)
        venv.create(folder / environments.names("bare", None)[0], symlinks=True)  # as it is built, less pip
        yield Bubblewrap(environments)
        return
    if not os.environ.get("SPRINGTIDE_TEST_CONTAINERS"):
        pytest.skip("containers are tried where SPRINGTIDE_TEST_CONTAINERS is set, with podman and debootstrap")
    with podman_service() as url:
        made = Container(url, base_image=base_image(), build_network="host", images=images)
        made.check()
        made.build("bare", None, print)
        yield made
