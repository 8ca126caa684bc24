"""A podman of a test's own, and a base image made from Debian packages alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["base_image", "podman_service"]

BASE = "localhost/springtide-test-base"
PACKAGES = "ca-certificates,python3,python3-venv,libgomp1"
CONFIGURATION = """[containers]
default_ulimits = ["nofile=20000:20000", "nproc=30000:30000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


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
    """Certificates, configuration and wheels of this machine's pip."""
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", root / "etc/ssl/certs/ca-certificates.crt")
    if Path("/etc/pip.conf").exists():
        shutil.copy("/etc/pip.conf", root / "etc/pip.conf")
    for place in os.environ.get("PIP_FIND_LINKS", "").split():
        if Path(place).is_dir():
            shutil.copytree(place, root / place.lstrip("/"))
