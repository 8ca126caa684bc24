"""What the processes of a cell use, read from outside: memory, and bytes on the disk."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

__all__ = ["NO_END", "bytes_resident", "bytes_written", "tree"]

NO_END = 2**62  # bytes, where there is no limit
DEEPEST = 64  # folders within folders: nobody needs more, and a reader of more runs out of something
RESERVE = 128 * 2**20  # bytes of the disk that no cell gets
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
INODE = 4096  # what even an empty file counts as, so that there is an end to them too
UNSHARED = (b"VmPTE:", b"VmSwap:")  # page tables, which all processes have of their own, and what was swapped out
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


def bytes_resident(pids: list[int], *, enough: int = NO_END) -> int:
    """Memory of processes; pages that they share are counted once where it matters, that is above `enough`.

    With what was swapped out, and with page tables: a script that only reads a great hole has nothing else.
    """
    counted = sum(map(_resident, pids))
    return sum(map(_proportional, pids)) if counted > enough else counted


def _resident(pid: int) -> int:
    return _told(pid, "status", b"VmRSS:", *UNSHARED)


def _proportional(pid: int) -> int:
    """Resident memory, of which a page shared by n processes counts as 1/n (``Pss``)."""
    try:
        shared = _told(pid, "smaps_rollup", b"Pss:")
    except PermissionError:  # without root, a process can close this to us
        return _resident(pid)
    return shared + _told(pid, "status", *UNSHARED)


def _told(pid: int, file: str, *names: bytes) -> int:
    """The sum of some lines, in bytes; the kernel tells them in kB."""
    with suppress(*GONE):
        lines = Path(f"/proc/{pid}/{file}").read_bytes().splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(names))
    return 0


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
