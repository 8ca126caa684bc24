"""What the processes of a cell use, read from outside: memory, and bytes on the disk."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

__all__ = ["bytes_resident", "bytes_written", "tree"]

PAGE = os.sysconf("SC_PAGE_SIZE")
DEEPEST = 64  # folders within folders: nobody needs more, and a reader of more runs out of something
RESERVE = 128 * 2**20  # bytes of the disk that no cell gets
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
INODE = 4096  # what even an empty file counts as, so that there is an end to them too
GONE = (FileNotFoundError, ProcessLookupError)  # a process that has just ended


def tree(root: int) -> list[int]:
    """A process and all below it; one that is born or ends meanwhile may be missed."""
    found: list[int] = []
    ahead = [root]
    while ahead:
        found.append(ahead.pop())
        with suppress(*GONE):
            for task in Path(f"/proc/{found[-1]}/task").iterdir():
                with suppress(*GONE):
                    ahead += map(int, (task / "children").read_bytes().split())
    return found


def bytes_resident(pids: list[int], *, enough: int) -> int:
    """Memory of processes; pages that they share are counted once where it matters, that is above `enough`."""
    counted = sum(map(_resident, pids))
    return sum(map(_proportional, pids)) if counted > enough else counted


def _resident(pid: int) -> int:
    with suppress(*GONE):
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * PAGE
    return 0


def _proportional(pid: int) -> int:
    """Resident memory, of which a page shared by n processes counts as 1/n (``Pss``)."""
    with suppress(*GONE, PermissionError):  # without root, a process can close this to us
        for line in Path(f"/proc/{pid}/smaps_rollup").read_bytes().splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    return _resident(pid)


def bytes_written(folder: Path, pids: list[int]) -> float:
    """What a folder takes on the disk, and what `pids` hold open there though it was deleted.

    Infinite where it cannot be told (too deep, or closed to us), and where the disk itself is as good as full.
    """
    space = os.statvfs(folder)
    if space.f_bavail * space.f_frsize < RESERVE:
        return float("inf")
    try:
        written = _written(os.open(folder, FOLDER), DEEPEST)
    except PermissionError:
        return float("inf")
    return written + _held(pids, device=folder.stat().st_dev)


def _written(folder: int, deeper: int) -> float:
    """By open folders, not by paths: no name can grow too long, no link can lead elsewhere."""
    total = 0.0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                with suppress(*GONE, NotADirectoryError):  # it may become something else while we look
                    found = entry.stat(follow_symlinks=False)
                    total += max(found.st_blocks * 512, INODE)
                    if stat.S_ISDIR(found.st_mode):
                        if not deeper:
                            return float("inf")
                        total += _written(os.open(entry.name, FOLDER, dir_fd=folder), deeper - 1)
    finally:
        os.close(folder)
    return total


def _held(pids: list[int], *, device: int) -> int:
    """Bytes of files on `device` that were deleted, but are still open."""
    files: dict[int, int] = {}
    for pid in pids:
        with suppress(*GONE, PermissionError):  # without root, a process can close its list to us
            for handle in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(*GONE):
                    found = handle.stat()
                    if stat.S_ISREG(found.st_mode) and found.st_nlink == 0 and found.st_dev == device:
                        files[found.st_ino] = found.st_blocks * 512
    return sum(files.values())
