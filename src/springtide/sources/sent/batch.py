"""One batch: its cells read, converted and checked row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import polars as pl

from springtide.domain.errors import BadRows
from springtide.domain.rows import REGION, SERIES, TIME
from springtide.sources.files.times import read_times
from springtide.sources.sent.cells import ROW, read_cells
from springtide.sources.sent.values import as_sent, convert, faults, in_reach, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from springtide.settings.words import RowsSource
    from springtide.sources.sent.cells import Form

__all__ = ["Faulty", "Sent", "read_sent"]

MOST_CELLS = 1_000  # characters of a row that are kept with its reason
REASON = " reason"


@dataclass(frozen=True, slots=True)
class Faulty:
    """A row that cannot be taken, counted from 1; `cells` is the row as it was sent, as JSON, cut."""

    row: int
    reason: str
    cells: str


@dataclass(frozen=True, slots=True)
class Sent:
    """A batch: the rows that can be taken, one a key and in its order, those that cannot, and how many were sent."""

    rows: pl.DataFrame
    faulty: tuple[Faulty, ...]
    count: int


def read_sent(data: bytes, source: RowsSource, *, form: Form, region: str, now: datetime, where: str) -> Sent:
    """Read one batch, and check every value.

    A cell is what it says: what a spreadsheet would work out (``=1+1``) is no number, and as a text it stays as it is.

    Parameters
    ----------
    data
        CSV with a header row (any usual separator, UTF-8 with or without a byte order mark); JSON: a list of objects,
        an object with such a list under ``rows``, or an object a line; Parquet.
    source
        What the columns are.
    form
        Which of the three it is.
    region
        Who sent it; it is the name of the series, or the beginning of it.
    now
        The clock: a row of a time to come, by more than a day, is a mistake. Any time lies in the years 1900 to 2199.
    where
        The batch, for the error.

    Raises
    ------
    BadRows
        What makes a whole batch useless: bytes that cannot be read, a column that is missing, not known or of another
        type, or more faulty rows than `source.tolerance` allows.
    TooLarge
        More rows than a batch may have, or more bytes when unpacked.
    """
    try:
        return _read(data, source, form=form, region=region, now=now, where=where)
    except pl.exceptions.PanicException as error:  # no Exception: whoever waits for the batch would not hear of it
        raise BadRows(
            "the values cannot be read",
            where=where,
            do="the file may be damaged, or hold what no calendar holds: write it again",
        ) from error


def _read(data: bytes, source: RowsSource, *, form: Form, region: str, now: datetime, where: str) -> Sent:
    cells = read_cells(data, form, source, where=where)
    names = [name for name in cells.columns if name != ROW]
    typed = cells.select(
        ROW,
        *(convert(name, cells.schema[name], source) for name in names),
        *(text_of(name, cells.schema[name]).alias(as_sent(name)) for name in names),
    )
    times = (TIME, *(name for name, kind in source.values.items() if kind == "time"))
    judged = (
        typed.with_columns(in_reach(read_times(typed[name])).alias(name) for name in times)
        .with_columns(pl.coalesce(pl.lit(None, pl.String), *faults(source, now)).alias(REASON))
        .select(ROW, REASON, _series(source, region), TIME, pl.lit(region).alias(REGION), *source.values)
        .sort(SERIES, TIME, *source.key, maintain_order=True)
    )
    judged = _without_doubles(judged, (SERIES, TIME, *source.key))
    faulty = tuple(_faulty(typed, names, judged)) if judged[REASON].null_count() < judged.height else ()
    if len(faulty) == cells.height or len(faulty) > source.tolerance * cells.height:
        raise BadRows(
            f"{len(faulty)} of {cells.height} rows cannot be taken; row {faulty[0].row}: {faulty[0].reason}",
            where=where,
            do="correct them and send the batch again: none of its rows was taken, as its source takes "
            f"{source.tolerance:.0%} of faulty ones at most (tolerance)",
        )
    good = judged.filter(pl.col(REASON).is_null()) if faulty else judged
    return Sent(good.drop(ROW, REASON), faulty, cells.height)


def _series(source: RowsSource, region: str) -> pl.Expr:
    """A series belongs to one region: no region can correct the rows of another."""
    if not source.named_series:
        return pl.lit(region).alias(SERIES)
    return pl.format("{}/{}", pl.lit(region), pl.col(SERIES).str.strip_chars()).alias(SERIES)


def _without_doubles(judged: pl.DataFrame, key: tuple[str, ...]) -> pl.DataFrame:
    """One of good rows that are equal; rows of one key with other values contradict each other, so they are faulty."""
    good = judged.filter(pl.col(REASON).is_null())
    if not good.select(pl.struct(key).is_duplicated().any()).item():
        return judged
    values = [name for name in judged.columns if name not in (ROW, REASON)]
    good = good.unique(values, keep="first", maintain_order=True)
    at_odds = pl.when(pl.struct(key).is_duplicated()).then(
        pl.lit("another row of the batch has its key and other values")
    )
    return pl.concat([good.with_columns(at_odds.alias(REASON)), judged.filter(pl.col(REASON).is_not_null())])


def _faulty(typed: pl.DataFrame, names: Sequence[str], judged: pl.DataFrame) -> Iterator[Faulty]:
    """Rows as they were sent beside their reasons, in the order in which they were sent."""
    bad = judged.filter(pl.col(REASON).is_not_null()).select(ROW, REASON)
    said = typed.select(ROW, *(pl.col(as_sent(name)).str.slice(0, MOST_CELLS).alias(name) for name in names))
    for record in said.join(bad, on=ROW).sort(ROW).iter_rows(named=True):
        row, reason = record.pop(ROW), record.pop(REASON)
        yield Faulty(row, reason, msgspec.json.encode(record).decode()[:MOST_CELLS])
