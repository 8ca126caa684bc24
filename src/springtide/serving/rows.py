"""The newest rows of a table as columns for a codec: read when the table changes, never by a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from springtide.domain.rows import SERIES, TIME

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl
    from numpy.typing import NDArray

    from springtide.domain.rows import Filter
    from springtide.lake.table import Table

__all__ = ["Rows", "Want", "columns_of", "read_newest"]


@dataclass(frozen=True, slots=True)
class Want:
    """Which rows a model forecasts from: `steps` newest ones of each series."""

    filter: Filter
    steps: int


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one version of a table; `columns` holds ``ds`` as int64 seconds since 1970 UTC."""

    table: str
    version: int
    want: Want
    columns: Mapping[str, NDArray[Any]]


def read_newest(table: Table, want: Want, *, version: int) -> Rows:
    """Read what `want` says; `version` is the table's version that was seen before the reading."""
    return Rows(table.name, version, want, columns_of(table.newest(want.filter, steps=want.steps)))


def columns_of(frame: pl.DataFrame) -> dict[str, NDArray[Any]]:
    """The columns of a frame as a codec takes them.

    >>> import polars as pl
    >>> from datetime import UTC, datetime
    >>> columns = columns_of(pl.DataFrame({"unique_id": ["a"], "ds": [datetime(1970, 1, 2, tzinfo=UTC)], "y": [1.5]}))
    >>> columns["unique_id"].tolist(), columns["ds"].tolist(), columns["y"].tolist()
    (['a'], [86400], [1.5])
    """
    columns: dict[str, NDArray[Any]] = {
        name: values.to_numpy() for name, values in frame.to_dict().items() if name not in (SERIES, TIME)
    }
    columns[SERIES] = np.array(frame[SERIES].to_list(), dtype=np.str_)
    columns[TIME] = frame[TIME].dt.epoch("s").to_numpy()
    return columns
