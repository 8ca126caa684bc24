"""Engines of a test's own: bubblewrap, and a podman with a base image that is made from Debian packages alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
import venv
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from springtide.domain.errors import NotReady
from springtide.sandbox.bubblewrap import Bubblewrap
from springtide.sandbox.container import Container
from springtide.sandbox.environments import IMAGES, Environments

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["bare_bubblewrap", "bare_container", "base_image", "need_bubblewrap", "podman_service", "sandbox_section"]

BASE = "localhost/springtide-test-base"
PACKAGES = "ca-certificates,python3,python3-venv,libgomp1"
CONFIGURATION = """[containers]
default_ulimits = ["nofile=20000:20000", "nproc=30000:30000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


def need_bubblewrap() -> None:
    """Skip a test where bubblewrap cannot work, with what would have to be done."""
    try:
        Bubblewrap.check()
    except NotReady as missing:
        pytest.skip(f"{missing.what}: {missing.do}")


def bare_bubblewrap(folder: Path) -> Bubblewrap:
    """With an environment ``bare`` that has no packages."""
    environments = Environments(folder / "environments", _bare_images(folder))
    venv.create(folder / "environments" / environments.names("bare", None)[0], symlinks=True)
    return Bubblewrap(environments)


@contextmanager
def bare_container(folder: Path) -> Iterator[Container]:
    """A podman with an image ``bare`` that has no packages."""
    with podman_service() as url:
        made = Container(url, base_image=base_image(), build_network="host", images=_bare_images(folder))
        made.check()
        made.build("bare", None, print)
        yield made


def _bare_images(folder: Path) -> Path:
    for name in ("bare", "unbuilt"):
        shutil.copytree(IMAGES / "tensorflow", folder / "images" / name)
        (folder / "images" / name / "requirements.txt").write_text(f"# {name}\n")
    return folder / "images"


@contextmanager
def sandbox_section(engine: str) -> Iterator[str]:
    """Section ``[sandbox]`` for an engine; containers by a podman of its own."""
    if engine == "bubblewrap":
        yield '[sandbox]\nengine = "bubblewrap"\n'
        return
    with podman_service() as url:
        image = f'base_image = "{base_image()}"\nbuild_network = "host"\n'
        yield f'[sandbox]\nengine = "container"\nsocket = "{url}"\n{image}'


@contextmanager
def podman_service() -> Iterator[str]:
    """The URL of a podman's socket, for a while."""
    with tempfile.TemporaryDirectory(prefix="springtide-podman-") as folder:
        configuration = Path(folder) / "containers.conf"
        configuration.write_text(CONFIGURATION)
        url = f"unix://{folder}/podman.sock"
        environment = {**os.environ, "CONTAINERS_CONF": str(configuration)}
        with subprocess.Popen(["podman", "system", "service", "--time=0", url], env=environment) as service:
            try:
                while not (Path(folder) / "podman.sock").exists() and service.poll() is None:
                    time.sleep(0.05)
                yield url
            finally:
                service.terminate()


def base_image() -> str:
    """A base image of Debian's Python; a minute where it was not made before."""
    if subprocess.run(["podman", "image", "exists", BASE], check=False).returncode:
        with tempfile.TemporaryDirectory(prefix="springtide-base-") as folder:
            root = Path(folder) / "root"
            subprocess.run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", root], check=True)
            _hand_on_pip(root)
            packed = Path(folder) / "root.tar"
            subprocess.run(["tar", "-C", root, "-cf", packed, "."], check=True)
            subprocess.run(["podman", "import", "--quiet", packed, BASE], check=True)
    return f"{BASE}:latest"


def _hand_on_pip(root: Path) -> None:
    """Certificates and wheels of this machine's pip."""
    certificates = "etc/ssl/certs/ca-certificates.crt"
    shutil.copy(Path("/", certificates), root / certificates)
    wheels = [place for place in os.environ.get("PIP_FIND_LINKS", "").split() if Path(place).is_dir()]
    for place in wheels:
        shutil.copytree(place, root / place.lstrip("/"))
    (root / "etc/pip.conf").write_text(f"[global]\ncert = /{certificates}\nfind-links = {' '.join(wheels)}\n")
