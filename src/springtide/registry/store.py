"""The store of model files and of runs' files: a folder or an S3 bucket, with errors that say which and why."""

from __future__ import annotations

import os
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from obstore.exceptions import BaseError, UnknownConfigurationKeyError
from obstore.store import LocalStore, S3Store

from springtide.domain.errors import SettingsError, StoreFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from obstore.store import ClientConfig, RetryConfig, S3Config

__all__ = ["failing", "flush", "open_store"]

SETTING = "store in section [home] of springtide.toml"
RETRY: RetryConfig = {"max_retries": 5, "retry_timeout": timedelta(seconds=30)}
OF_THE_CLIENT = ("allow_http", "allow_invalid_certificates", "connect_timeout", "proxy_url", "timeout")


@contextmanager
def failing(done: str, *, place: str) -> Iterator[None]:
    """Say which store failed, and why, on one line."""
    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        words = str(error).partition("\n")[0]
        raise StoreFailed(
            f"{place} cannot be {done}: {words}",
            where=place,
            do="check free space, permissions, and for S3 the bucket, endpoint and keys; then try again",
        ) from error


def flush(store: LocalStore | S3Store, key: str) -> None:
    """Wait until a local file and its name are on the disk: a later commit promises that they are there."""
    if isinstance(store, LocalStore):
        file = Path(str(store.prefix)) / key
        for path in (file, file.parent):
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def open_store(url: str, options: Mapping[str, str]) -> LocalStore | S3Store:
    """The store under `url`: a folder, ``file://...`` or ``s3://bucket/prefix``, with the object store's own options."""
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
