"""Where tables lie: a local folder or an object store, by URL."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import obstore
import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from obstore.exceptions import BaseError as ObstoreError
from obstore.store import from_url

from springtide.domain.errors import NotFound, SettingsError, StoreFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Place", "store_failures"]

_TABLE_NAME = re.compile(r"[A-Za-z0-9_-]+")
_FULL = re.compile(r"os error (27|28|122)\b")  # the file, the disk or the quota can take no more
_CLIENT_OPTION = "allow_http"  # obstore keeps options of the connection apart; deltalake and polars do not


@contextmanager
def store_failures(where: str, *, state: str = "nothing was written") -> Iterator[None]:
    """Say what a disk or an object store that gave up means to a person; `state` is how it left the table."""
    try:
        yield
    except CommitFailedError:  # a race, which the caller runs again
        raise
    except FileNotFoundError as error:
        raise NotFound(
            f"files of this version are gone ({_in_one_line(str(error))})",
            where=where,
            do="take a newer version; a vacuum keeps the files of the versions it is told to keep",
        ) from error
    except (DeltaError, OSError, ObstoreError, pl.exceptions.ComputeError) as error:
        text = _in_one_line(str(error))
        if isinstance(error, pl.exceptions.ComputeError) and "object-store error" not in text:
            raise
        if _FULL.search(text):
            raise StoreFailed(
                f"the disk is full, {state} ({text})",
                where=where,
                do="free some space and run the same command again",
            ) from error
        raise StoreFailed(
            f"the store could not take or give bytes, {state} ({text})",
            where=where,
            do="check that the place can be reached, read and written",
        ) from error


def _in_one_line(text: str) -> str:
    """An error of the libraries below without colours, arrows and the stack of the program that made it."""
    lines = re.sub(r"\x1b\[\d*m|↳", "", text).partition("   0: ")[0].split()
    return " ".join(lines)[:400]


@dataclass(frozen=True, slots=True)
class Place:
    """A folder or URL that holds tables, one folder each, and the options that open it."""

    url: str
    options: Mapping[str, str]

    @classmethod
    def of(cls, url: str, options: Mapping[str, str] | None) -> Self:
        """A local path is made absolute, so that a later change of directory does not move the lake."""
        local = url.removeprefix("file://")
        return cls(url.rstrip("/") if "://" in local else str(Path(local).absolute()), dict(options or {}))

    @property
    def storage(self) -> dict[str, str] | None:
        """The options as deltalake and polars take them."""
        return dict(self.options) or None

    def uri(self, name: str) -> str:
        """Where the table `name` lies."""
        if _TABLE_NAME.fullmatch(name) is None:
            raise SettingsError(
                f"{name!r} is not a name of a table",
                where="a table in springtide.toml or in a command",
                do="use letters, digits, - and _",
            )
        return f"{self.url}/{name}"

    def load(self, name: str, version: int | None = None) -> DeltaTable | None:
        """The table as it is now, or at `version`; None when it does not exist."""
        uri = self.uri(name)
        with store_failures(uri):
            try:
                return DeltaTable(uri, version=version, storage_options=self.storage)
            except TableNotFoundError:
                return None
            except DeltaError as error:
                if version is None or "log segment" not in str(error).lower().replace("logsegment", "log segment"):
                    raise
                raise NotFound(
                    f"table {name} has no version {version}",
                    where=uri,
                    do="ask for a version that its history lists",
                ) from error

    def names(self) -> list[str]:
        """The tables, in alphabetical order."""
        with store_failures(self.url):
            folders = self._folders()
            return sorted(
                name
                for name in folders
                if _TABLE_NAME.fullmatch(name) and DeltaTable.is_deltatable(self.uri(name), self.storage)
            )

    def _folders(self) -> list[str]:
        if "://" not in self.url:
            folder = Path(self.url)
            return [entry.name for entry in folder.iterdir() if entry.is_dir()] if folder.is_dir() else []
        connection = [name for name in self.options if name.lower().endswith(_CLIENT_OPTION)]
        config: dict[str, Any] = {name: value for name, value in self.options.items() if name not in connection}
        client: dict[str, Any] = dict.fromkeys([_CLIENT_OPTION], self.options[connection[0]]) if connection else {}
        store = from_url(self.url, config=config, client_options=client)  # type: ignore[call-overload] # which store it is, the URL says
        return [prefix.rstrip("/") for prefix in obstore.list_with_delimiter(store)["common_prefixes"]]
