"""What a cell finds when it wakes up, whichever engine it runs in: its folder, and a few variables."""

from __future__ import annotations

import math
import os
import stat
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from springtide.domain.errors import StoreFailed
from springtide.sandbox.collecting import remove

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from springtide.sandbox.seam import Cell, Limits

__all__ = ["OPEN_FILES", "SHARED_MEMORY", "SLACK", "made_ready", "variables"]

OPEN_FILES = 4096  # of one process
SHARED_MEMORY = 64 * 2**20  # bytes of /dev/shm, which no process need map
SLACK = 2**20  # bytes by which one file may pass the disk's limit, for that to be seen


@contextmanager
def made_ready(cell: Cell, user: int) -> Iterator[None]:
    """Give the work folder to the cell's user; its temporary files go when it ends.

    Raises
    ------
    StoreFailed
        If an input is closed to that user.
    """
    for name, path in cell.inputs.items():
        _check_readable(name, path, user)
    remove(cell.work / ".tmp")  # what an earlier cell may have put there: a link
    (cell.work / ".tmp").mkdir()
    if user != os.geteuid():
        subprocess.run(["chown", "-hR", f"{user}:{user}", "--", str(cell.work)], check=True)
    try:
        yield
    finally:
        remove(cell.work / ".tmp")


def _check_readable(name: str, path: Path, user: int) -> None:
    mode = path.stat().st_mode
    needed = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
    if user != os.geteuid() and mode & needed != needed:
        raise StoreFailed(
            f"the input {name!r} is closed to the user of the sandbox",
            where=str(path),
            do="let everybody read it: the folder above can stay closed",
        )


def variables(limits: Limits, *, path: str) -> dict[str, str]:
    """All variables that a cell has: none is the host's."""
    threads = str(math.ceil(limits.cpus))
    return {
        "PATH": path,
        "HOME": "/work/.tmp",
        "TMPDIR": "/work/.tmp",
        "USER": "cell",
        "LANG": "C.UTF-8",
        "PYTHONPATH": "/in/lib",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": threads,
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "KERAS_BACKEND": "tensorflow",
    }
