"""What a cell left behind is taken only as plain files of a size that was agreed on."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from springtide.domain.errors import ModelRefused, StoreFailed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["collect", "remove"]

KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def collect(work: Path, names: Iterable[str], most_bytes: int) -> dict[str, Path]:
    """Where the outputs of an ended cell lie, by name (``out/model.onnx``); together at most `most_bytes`.

    Raises
    ------
    ModelRefused
        If one is missing, is no plain file, is reached through a link, or is too big.
    """
    found: dict[str, Path] = {}
    left = most_bytes
    for name in names:
        path = _plain_file(work, name)
        left -= path.stat().st_size
        if left < 0:
            raise _refused(name, f"makes more than {most_bytes:,} bytes of output", "write less, or raise the limit")
        found[name] = path
    return found


def _plain_file(work: Path, name: str) -> Path:
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or PurePosixPath(name).is_absolute():
        raise _refused(name, "is not inside the work folder", "name a file below /work")
    path = work
    for number, part in enumerate(parts, start=1):
        path /= part
        try:
            kind = stat.S_IFMT(path.lstat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            raise _refused(name, "is missing", "write it before the end") from None
        if kind != (stat.S_IFREG if number == len(parts) else stat.S_IFDIR):
            raise _refused(name, f"is {KINDS.get(kind, 'no folder')}, not a plain file", "write a plain file")
    return path


def _refused(name: str, what: str, do: str) -> ModelRefused:
    return ModelRefused(f"the output {name!r} {what}", where="what the sandbox left in /work", do=do)


def remove(work: Path) -> None:
    """Delete a work folder, whatever was made in it: folders deeper than any path can be long, unreadable ones."""
    if os.geteuid() != 0:
        subprocess.run(["chmod", "-R", "u+rwX", "--", str(work)], check=False, capture_output=True)
    done = subprocess.run(["rm", "-rf", "--one-file-system", "--", str(work)], check=False, capture_output=True)
    if work.exists():
        raise StoreFailed(
            f"a work folder cannot be deleted: {done.stderr.decode(errors='replace').strip()[-200:]}",
            where=str(work),
            do="delete it by hand",
        )
