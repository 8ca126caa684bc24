"""The newest rows of a table as columns for a codec: read when the table changes.

A request reads none, but those of other tables that belong to old rows which it brings itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from springtide.domain.rows import SERIES, TIME

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import polars as pl
    from numpy.typing import NDArray

    from springtide.domain.rows import Filter
    from springtide.lake.table import Table

__all__ = ["Rows", "Want", "columns_of", "read_newest", "read_outside"]


@dataclass(frozen=True, slots=True)
class Want:
    """Which rows a model forecasts from: `steps` newest ones of each series.

    `outside` names the rows of other tables, and how many seconds of them up to the newest row of the model's own table.
    """

    filter: Filter
    steps: int
    outside: Mapping[str, tuple[Filter, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one version of a table; `columns` holds ``ds`` as int64 seconds since 1970 UTC.

    `versions` holds the version of every table that was read, `outside` the columns of the other tables.
    """

    table: str
    version: int
    want: Want
    columns: Mapping[str, NDArray[Any]]
    versions: Mapping[str, int] = field(default_factory=dict)
    outside: Mapping[str, Mapping[str, NDArray[Any]]] = field(default_factory=dict)


def read_newest(tables: Callable[[str], Table], name: str, want: Want, *, until: datetime | None = None) -> Rows:
    """Read what `want` says of table `name` and of those outside it; only rows of times before `until`, if it is given."""
    versions = {one: tables(one).version() for one in (name, *want.outside)}  # seen before the reading
    frame = tables(name).newest(replace(want.filter, end=until), steps=want.steps)
    newest: datetime = frame[TIME].max()  # type: ignore[assignment] # `newest` raises where there is no row
    outside = read_outside(tables, want, since=newest)
    return Rows(name, versions[name], want, columns_of(frame), versions, outside)


def read_outside(
    tables: Callable[[str], Table], want: Want, *, since: datetime, until: datetime | None = None
) -> dict[str, Mapping[str, NDArray[Any]]]:
    """The rows of other tables that forecasts of cutoffs from `since` on look at; only those of times before `until`."""
    return {
        other: columns_of(tables(other).recent(replace(which, start=since - timedelta(seconds=span_s), end=until)))
        for other, (which, span_s) in want.outside.items()
    }


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
