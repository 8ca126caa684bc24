"""Zip files from outside: looked at before a byte is unpacked. Standard library only; the host uses it as well."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from springtide.sdk import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MOST_BYTES", "check_archive", "pack", "pack_folder", "unpack"]

MOST_BYTES = 4 << 30  # unpacked
MOST_RATIO = 200  # unpacked to packed; weights hardly pack at all
SMALL_BYTES = 64 << 20  # below this the ratio does not matter
MOST_MEMBERS = 10_000
MOST_DIRECTORY = 4 << 20  # bytes of the list of them
_MEMBER = b"PK\1\2"  # what every entry of the list begins with
_CHUNK = 1 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time of a zip: equal folders make equal bytes


def check_archive(path: Path, *, most_bytes: int = MOST_BYTES) -> tuple[str, ...]:
    """Refuse a zip that no model or data set is; nothing is unpacked.

    Parameters
    ----------
    path : Path
        The zip.
    most_bytes : int
        What it may unpack to, as its own directory says; `unpack` holds it to that.

    Returns
    -------
    tuple of str
        The names of its files.

    Raises
    ------
    Refusal
        It is broken or protected; a name leads out of it; a member is a link or a device; two members have one name;
        it unpacks to too much.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(_Looked(file, path)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise _broken(path, error) from error
    for member in members:
        _check_member(path, member)
    names = [member.filename for member in members]
    if len(set(names)) < len(names):
        raise _hostile(path, "two of its files have the same name")
    _check_size(path, sum(member.file_size for member in members), most_bytes)
    return tuple(member.filename for member in members if not member.is_dir())


def unpack(path: Path, folder: Path, *, most_bytes: int = MOST_BYTES) -> None:
    """Unpack a zip into `folder` after `check_archive`.

    Raises
    ------
    Refusal
        As `check_archive`; or its directory lied about the size of a file, or its content is damaged.
    """
    names = check_archive(path, most_bytes=most_bytes)
    with zipfile.ZipFile(path) as archive:
        for name in names:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with archive.open(name) as source, target.open("wb") as plain:
                    _copy(source, plain, archive.getinfo(name).file_size, path)
            except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
                raise _broken(path, error) from error


def pack(files: Mapping[str, Path], path: Path) -> None:
    """Zip files under their names in the zip; the same files give the same bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, date_time=_EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            with files[name].open("rb") as plain, archive.open(info, "w", force_zip64=True) as packed:
                shutil.copyfileobj(plain, packed)


def pack_folder(folder: Path, path: Path) -> None:
    """Zip all files of a folder."""
    pack({file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}, path)


class _Looked:
    """A zip that is read only as far as its list of files is one that a model can have.

    `zipfile` makes an object of each entry, and there can be half a million in 27 MB. It takes the list in one piece, of the
    size that it will go by, whichever end record said it: here nothing is parsed that it might read in another way.
    """

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file, self._path = file, path
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """Some bytes, unless they are a list that is too long."""
        if size > MOST_DIRECTORY:
            raise _hostile(self._path, f"the list of its files has {size:,} bytes; the limit is {MOST_DIRECTORY:,}")
        found = self._file.read(size)
        if (members := found.count(_MEMBER)) > MOST_MEMBERS:
            raise _hostile(self._path, f"it holds {members} files; the limit is {MOST_MEMBERS}")
        return found


def _check_member(path: Path, member: zipfile.ZipInfo) -> None:
    # zipfile ends a name at a NUL byte; what the archive said stands in orig_filename
    inside = PurePosixPath(member.orig_filename.replace("\\", "/"))
    if inside.is_absolute() or ".." in inside.parts or ":" in inside.name + inside.parts[0] or "\0" in str(inside):
        raise _hostile(path, f"it holds a file named {member.orig_filename!r:.100}, which leads out of it")
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _hostile(path, f"{member.filename!r:.100} in it is a link or a device")
    if member.flag_bits & 0x1:
        raise Refusal("the zip is protected by a password", where=path.name, do="send it without one")


def _check_size(path: Path, size: int, most_bytes: int) -> None:
    limit = min(most_bytes, max(SMALL_BYTES, path.stat().st_size * MOST_RATIO))
    if size > limit:
        raise _hostile(path, f"it unpacks to {size >> 20} MiB, and the limit for its size is {limit >> 20} MiB")


def _copy(source: IO[bytes], plain: IO[bytes], size: int, path: Path) -> None:
    """Copy, and stop at the size that was declared."""
    while chunk := source.read(_CHUNK):
        size -= len(chunk)
        if size < 0:
            raise _hostile(path, "a file in it is larger than its directory says")
        plain.write(chunk)


def _hostile(path: Path, why: str) -> Refusal:
    return Refusal(
        f"the zip is not unpacked: {why}", where=path.name, do="pack the model's own files, and nothing else"
    )


def _broken(path: Path, error: Exception) -> Refusal:
    said = str(error).strip() or type(error).__name__
    return Refusal(
        f"cannot be read as zip: {said:.200}", where=path.name, do="it may be cut short: pack and send it again"
    )
