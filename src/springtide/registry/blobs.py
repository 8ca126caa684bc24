"""Write-once bytes, named by their own SHA-256, in a folder or an S3 bucket."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError

from springtide.domain.errors import ModelRefused, NotFound, StoreFailed
from springtide.registry.store import failing, flush, open_store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Blobs"]

DIGEST = re.compile(r"[0-9a-f]{64}")


class Blobs:
    """The store under `url`: a folder, ``file://...`` or ``s3://bucket/prefix``.

    `options` are the object store's own keys, with or without ``aws_`` (``endpoint_url``, ``region``, ``allow_http``,
    ...), as Delta tables take them too; what is missing is read from the usual ``AWS_...`` variables.
    """

    def __init__(self, url: str, options: Mapping[str, str] | None = None) -> None:
        self._store = open_store(url, options or {})
        self._place = f"model files in {url}"

    def put(self, data: bytes) -> str:
        """Store `data` and return its digest; bytes that are there already are checked, and replaced if damaged."""
        digest = hashlib.sha256(data).hexdigest()
        with failing("written", place=self._place):
            try:
                obstore.put(self._store, _key(digest), data, mode="create")
            except AlreadyExistsError:
                if self._bytes(digest) != data:
                    obstore.put(self._store, _key(digest), data, mode="overwrite")
            flush(self._store, _key(digest))
        return digest

    def put_file(self, path: Path) -> str:
        """Store the bytes of a file."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise StoreFailed(
                f"{path.name} cannot be read: {error.strerror}", where=str(path), do="check that the file is there"
            ) from error
        return self.put(data)

    def get(self, digest: str, *, of: str = "a file") -> bytes:
        """The bytes of that digest, checked; `of` says in an error which model file is meant.

        Raises
        ------
        NotFound
            If there are none.
        ModelRefused
            If the bytes are not the ones that were stored.
        """
        with failing("read", place=self._place):
            data = self._bytes(digest)
        if data is None:
            raise NotFound(
                f"{of} is missing: the store has no {digest}",
                where=self._place,
                do="restore the store from a backup, roll back to another version, or retrain",
            )
        if hashlib.sha256(data).hexdigest() != digest:
            raise ModelRefused(
                f"{of} is damaged: its bytes no longer give {digest}",
                where=f"{self._place}, {_key(digest)}",
                do="restore the file from a backup, roll back to another version, or retrain",
            )
        return data

    def has(self, digest: str) -> bool:
        """Whether something is stored under that digest; does not read it."""
        with failing("looked up", place=self._place):
            try:
                obstore.head(self._store, _key(digest))
            except FileNotFoundError:
                return False
        return True

    def delete(self, digest: str) -> None:
        """Remove the bytes of that digest, if they are there."""
        with failing("removed", place=self._place):
            try:
                obstore.delete(self._store, _key(digest))
            except FileNotFoundError:
                return  # S3 says nothing in this case; a folder should not differ

    def names(self) -> set[str]:
        """The digests of all that is stored; what a killed writer left half-written is not among them."""
        with failing("listed", place=self._place):
            keys = [meta["path"] for page in obstore.list(self._store) for meta in page]
        return {name for name in (key.rpartition("/")[2] for key in keys) if DIGEST.fullmatch(name)}

    def _bytes(self, digest: str) -> bytes | None:
        try:
            return obstore.get(self._store, _key(digest)).bytes().to_bytes()
        except FileNotFoundError:
            return None


def _key(digest: str) -> str:
    return f"{digest[:2]}/{digest}"
