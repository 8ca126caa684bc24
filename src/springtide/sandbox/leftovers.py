"""What processes of this machine leave when they are killed: each thing bears its owner's name, and the next one clears up."""

from __future__ import annotations

import logging
import os
import re
import stat
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from springtide.domain.errors import StoreFailed
from springtide.domain.process import is_gone, this_process
from springtide.sandbox.collecting import remove

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["owned_folder", "sweep_folders"]

LOG = logging.getLogger("springtide.sandbox")
NAMED = re.compile(r"springtide-(?P<pid>\d+)-(?P<born>\d+)-(?P<host>.+)-[^-]+")
PATIENCE_S = 2.0  # for a cell that is being ended to let go of its folder


@contextmanager
def owned_folder() -> Iterator[Path]:
    """A new folder of this process among the temporary ones; it goes with the block, or is found by its name."""
    host, pid, born = this_process().split(":")
    folder = Path(tempfile.mkdtemp(prefix=f"springtide-{pid}-{born}-{host}-"))
    try:
        yield folder
    finally:
        remove(folder)


def sweep_folders() -> None:
    """Delete the folders whose owners are gone; one that cannot be deleted is told and left to the next sweep."""
    with os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            named = NAMED.fullmatch(entry.name)
            if named is None or not is_gone("{host}:{pid}:{born}".format(**named.groupdict())):
                continue
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # somebody else sweeps too
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
                _remove_patiently(Path(entry.path))


def _remove_patiently(folder: Path) -> None:
    """A cell dies with its process, but not in the same moment: until then it may write."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            remove(folder)
        except StoreFailed as error:
            if time.monotonic() < until:
                time.sleep(0.1)
                continue
            LOG.warning("%s: %s", folder, error.what)
        return
