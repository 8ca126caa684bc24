"""Write-once bytes, named by their own SHA-256, in a folder or an S3 bucket."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, UnknownConfigurationKeyError
from obstore.store import LocalStore, S3Store

from springtide.domain.errors import ModelRefused, NotFound, SettingsError, StoreFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from obstore.store import ClientConfig, RetryConfig, S3Config

__all__ = ["Blobs"]

SETTING = "store in section [home] of springtide.toml"
DIGEST = re.compile(r"[0-9a-f]{64}")
RETRY: RetryConfig = {"max_retries": 5, "retry_timeout": timedelta(seconds=30)}
OF_THE_CLIENT = ("allow_http", "allow_invalid_certificates", "connect_timeout", "proxy_url", "timeout")


class Blobs:
    """The store under `url`: a folder, ``file://...`` or ``s3://bucket/prefix``.

    `options` are the object store's own keys, with or without ``aws_`` (``endpoint_url``, ``region``, ``allow_http``,
    ...), as Delta tables take them too; what is missing is read from the usual ``AWS_...`` variables.
    """

    def __init__(self, url: str, options: Mapping[str, str] | None = None) -> None:
        self._store = _open_store(url, options or {})
        self._place = f"model files in {url}"

    def put(self, data: bytes) -> str:
        """Store `data` and return its digest; bytes that are there already are checked, and replaced if damaged."""
        digest = hashlib.sha256(data).hexdigest()
        with self._failing("written"):
            try:
                obstore.put(self._store, _key(digest), data, mode="create")
            except AlreadyExistsError:
                if self._bytes(digest) != data:
                    obstore.put(self._store, _key(digest), data, mode="overwrite")
            self._flush(digest)
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
        with self._failing("read"):
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
        with self._failing("looked up"):
            try:
                obstore.head(self._store, _key(digest))
            except FileNotFoundError:
                return False
        return True

    def delete(self, digest: str) -> None:
        """Remove the bytes of that digest, if they are there."""
        with self._failing("removed"):
            try:
                obstore.delete(self._store, _key(digest))
            except FileNotFoundError:
                return  # S3 says nothing in this case; a folder should not differ

    def names(self) -> set[str]:
        """The digests of all that is stored; what a killed writer left half-written is not among them."""
        with self._failing("listed"):
            keys = [meta["path"] for page in obstore.list(self._store) for meta in page]
        return {name for name in (key.rpartition("/")[2] for key in keys) if DIGEST.fullmatch(name)}

    def _bytes(self, digest: str) -> bytes | None:
        try:
            return obstore.get(self._store, _key(digest)).bytes().to_bytes()
        except FileNotFoundError:
            return None

    def _flush(self, digest: str) -> None:
        """Wait until a local file and its name are on the disk: a later commit promises that they are there."""
        if isinstance(self._store, LocalStore):
            file = Path(str(self._store.prefix)) / _key(digest)
            for path in (file, file.parent):
                handle = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)

    @contextmanager
    def _failing(self, done: str) -> Iterator[None]:
        """Say which store failed, and why, on one line."""
        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            words = str(error).partition("\n")[0]
            raise StoreFailed(
                f"model files cannot be {done}: {words}",
                where=self._place,
                do="check free space, permissions, and for S3 the bucket, endpoint and keys; then try again",
            ) from error


def _key(digest: str) -> str:
    return f"{digest[:2]}/{digest}"


def _open_store(url: str, options: Mapping[str, str]) -> LocalStore | S3Store:
    scheme, found, rest = url.partition("://")
    if not found:
        return _open_folder(Path(url))
    if scheme == "file":
        return _open_folder(Path(rest))
    if scheme in ("s3", "s3a"):
        return _open_bucket(url, options)
    raise SettingsError(
        f"{scheme!r} is not a store that can be used", where=SETTING, do='name a folder, or "s3://bucket/prefix"'
    )


def _open_folder(folder: Path) -> LocalStore:
    folder = folder.expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreFailed(
            f"the folder of the model files cannot be made: {error.strerror}",
            where=str(folder),
            do="make the folder, or name another store in section [home] of springtide.toml",
        ) from error
    return LocalStore(folder)


def _open_bucket(url: str, options: Mapping[str, str]) -> S3Store:
    keys = {name.lower().removeprefix("aws_"): value for name, value in options.items()}
    client = {name: keys.pop(name) for name in OF_THE_CLIENT if name in keys}
    try:
        return S3Store.from_url(
            url,
            config=cast("S3Config", cast(Any, keys)),
            client_options=cast("ClientConfig", cast(Any, client)),
            retry_config=RETRY,
        )
    except UnknownConfigurationKeyError as error:
        raise SettingsError(
            str(error).partition("\n")[0],
            where="options of the store",
            do="use the object store's own keys: region, ...",
        ) from error
    except (BaseError, ValueError) as error:
        raise SettingsError(
            f"{url!r} is not a store: {str(error).partition(chr(10))[0]}",
            where=SETTING,
            do='write "s3://bucket/prefix"',
        ) from error
