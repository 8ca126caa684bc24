"""What a cell left behind is taken only as plain files of a size that was agreed on."""

from __future__ import annotations

import itertools
import os
import secrets
import stat
from collections import deque
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from springtide.domain.errors import ModelRefused, StoreFailed

if TYPE_CHECKING:
    from collections.abc import Iterable

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
    """Delete a work folder, whatever was made in it: folders deeper than any path can be long, unreadable ones.

    No link is ever followed, and nothing is reached by a path of more than one name: whatever takes another's place
    meanwhile, nothing outside is deleted or has its rights changed.

    Raises
    ------
    StoreFailed
        If something of it stays.
    """
    failed: OSError | None = None
    try:
        _take_away(work)
    except OSError as error:  # also where somebody else deletes it too, or something still writes there
        failed = error
    if failed is not None and os.path.lexists(work):
        raise StoreFailed(
            f"a work folder cannot be deleted: {failed.strerror}", where=str(work), do="delete it by hand"
        ) from failed


def _take_away(work: Path) -> None:
    if not stat.S_ISDIR(work.lstat().st_mode):
        work.unlink()
        return
    top = _opened(str(work), None)
    try:
        _clear(top)
    finally:
        os.close(top)
    work.rmdir()


def _opened(name: str, above: int | None) -> int:
    """A folder, which is opened to us if it is ours; a link in its place is refused."""
    handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
    try:
        if os.geteuid() != 0:
            Path(f"/proc/self/fd/{handle}").chmod(stat.S_IRWXU)  # the folder itself, whatever its name means by now
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=handle)
    finally:
        os.close(handle)


def _clear(top: int) -> None:
    """Folders within folders are moved up and cleared in their turn: however deep they are, two are open at once."""
    fresh = (f"{secrets.token_hex(8)}-{number}" for number in itertools.count())
    ahead = deque(_unlinked(top))
    while ahead:
        folder = _opened(ahead[0], top)
        try:
            for name in _unlinked(folder):
                os.close(_opened(name, folder))  # one that is closed to us cannot be moved
                os.rename(name, new := next(fresh), src_dir_fd=folder, dst_dir_fd=top)
                ahead.append(new)
        finally:
            os.close(folder)
        os.rmdir(ahead.popleft(), dir_fd=top)


def _unlinked(folder: int) -> list[str]:
    """The folders in a folder, of which nothing else is left."""
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        if not is_folder:
            os.unlink(name, dir_fd=folder)
    return [name for name, is_folder in found if is_folder]
