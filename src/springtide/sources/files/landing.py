"""Whether something has landed in a folder, and has been written to its end."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from springtide.domain.errors import NotFound
from springtide.sources.files.source import is_ready

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Landing"]


class Landing:
    """Looks at the names, sizes and times of the files of a folder, never into them.

    Parameters
    ----------
    path
        The folder, or a single file.
    known
        What `settled` returned when its files were last brought in; None before the first time.
    """

    def __init__(self, path: Path, known: str | None) -> None:
        self._path = path
        self.known = known
        self._last: str | None = None

    def settled(self) -> str | None:
        """A digest of what is there when it is new and the same as at the last look; else None.

        A file that is still growing holds back those beside it: it would be read half.

        Raises
        ------
        NotFound
            When there is neither a file nor a folder.
        """
        if not self._path.exists():
            raise NotFound("no such file or folder", where=str(self._path), do="make the folder, or correct path")
        try:
            now = self._digest()
        except FileNotFoundError:  # a file that went away between two lines; the next look says what is there
            now = None
        same, self._last = now == self._last, now
        return now if same and now != self.known else None

    def _digest(self) -> str | None:
        """What all files have by name, size and time; None when there is no file."""
        files = [self._path] if self._path.is_file() else sorted(self._path.rglob("*"))
        ready = [file for file in files if file == self._path or is_ready(file, self._path)]
        lines = [f"{file}\t{stat.st_size}\t{stat.st_mtime_ns}" for file, stat in ((one, one.stat()) for one in ready)]
        return sha256("\n".join(lines).encode()).hexdigest() if lines else None

    def brought(self, digest: str) -> None:
        """The files of that digest are in the table."""
        self.known = digest
