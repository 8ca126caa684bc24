"""What a run leaves for the process that goes on with it: files under its id, replaced as a whole or not at all."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import obstore
from obstore.store import LocalStore

from springtide.registry.store import failing, flush, open_store

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RunFiles", "RunFilesOf"]

PARTS = 2  # of a large file, 5 MiB each, that are in memory at a time


class RunFiles:
    """Files of unfinished runs under `url`: a folder, ``file://...`` or ``s3://bucket/prefix``."""

    def __init__(self, url: str, options: Mapping[str, str] | None = None) -> None:
        self._store = open_store(url, options or {})
        self._place = f"the files of unfinished runs in {url}"

    def put(self, run: str, name: str, data: bytes | IO[bytes]) -> None:
        """Store bytes, or a file from its beginning in pieces, in place of what was stored under that name."""
        if not isinstance(data, bytes):
            data.seek(0)
        with failing("written", place=self._place):
            obstore.put(self._store, f"{run}/{name}", data, mode="overwrite", max_concurrency=PARTS)
            flush(self._store, f"{run}/{name}")

    def get(self, run: str, name: str) -> bytes | None:
        """The bytes of a file, or None where there is none."""
        with failing("read", place=self._place):
            try:
                return obstore.get(self._store, f"{run}/{name}").bytes().to_bytes()
            except FileNotFoundError:
                return None

    def names(self, run: str) -> set[str]:
        """The names of a run's files."""
        with failing("listed", place=self._place):
            keys = [meta["path"] for page in obstore.list(self._store, prefix=run) for meta in page]
        return {key.removeprefix(f"{run}/") for key in keys}

    def runs(self) -> set[str]:
        """The runs that have files."""
        with failing("listed", place=self._place):
            return {prefix.rstrip("/") for prefix in obstore.list_with_delimiter(self._store)["common_prefixes"]}

    def remove(self, run: str) -> None:
        """Take all files of a run away."""
        for name in self.names(run):
            with failing("removed", place=self._place):
                try:
                    obstore.delete(self._store, f"{run}/{name}")
                except FileNotFoundError:
                    continue  # somebody else did it at the same time
        if isinstance(self._store, LocalStore):
            shutil.rmtree(Path(str(self._store.prefix)) / run, ignore_errors=True)  # its empty folders


@dataclass(frozen=True, slots=True)
class RunFilesOf:
    """The files of one run."""

    files: RunFiles
    run: str

    def put(self, name: str, data: bytes | IO[bytes]) -> None:
        """Store bytes, or a file in pieces, in place of what was stored under that name."""
        self.files.put(self.run, name, data)

    def get(self, name: str) -> bytes | None:
        """The bytes of a file, or None where there is none."""
        return self.files.get(self.run, name)
