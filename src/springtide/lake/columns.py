"""Which columns a table may hold, and the bytes that stand for their values wherever and however they are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from springtide.domain.errors import BadRows
from springtide.domain.rows import SERIES, TIME

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MOMENT", "canonical_parts", "check_columns", "check_same_columns", "kind_of"]

MOMENT = pl.Datetime("us", "UTC")

# Our own names go into hashes: polars may call its dtypes otherwise one day.
_NUMBERS: Mapping[pl.DataType, tuple[str, str]] = {
    pl.Int8(): ("int8", "<i1"),
    pl.Int16(): ("int16", "<i2"),
    pl.Int32(): ("int32", "<i4"),
    pl.Int64(): ("int64", "<i8"),
    pl.Float32(): ("float32", "<f4"),
    pl.Float64(): ("float64", "<f8"),
    pl.Boolean(): ("bool", "|u1"),
    pl.Date(): ("date", "<i4"),
    MOMENT: ("moment_us", "<i8"),
}
_TEXT = "text"


def kind_of(dtype: pl.DataType) -> str | None:
    """Our name of a dtype; None when a table cannot hold it.

    >>> kind_of(pl.Float64()), kind_of(pl.String()), kind_of(pl.UInt8())
    ('float64', 'text', None)
    """
    return _TEXT if dtype == pl.String() else _NUMBERS.get(dtype, (None, ""))[0]


def check_columns(schema: pl.Schema, key: tuple[str, ...], *, where: str) -> None:
    """Refuse a first frame whose columns a table cannot hold."""
    for column in key:
        if column not in schema:
            raise BadRows(
                f"the rows have no column {column!r}, which is part of the key ({', '.join(key)})",
                where=where,
                do=f"name the column {column!r}; the rows have: {', '.join(schema.names())}",
            )
    for column, wanted in ((SERIES, pl.String()), (TIME, MOMENT)):
        if schema[column] != wanted:
            raise BadRows(
                f"column {column!r} is {schema[column]}, not {wanted}", where=where, do=f"cast it to {wanted}"
            )
    for column, dtype in schema.items():
        if kind_of(dtype) is None:
            known = [str(dtype) for dtype in (*_NUMBERS, pl.String())]
            raise BadRows(
                f"column {column!r} is {dtype}, which a table cannot hold",
                where=where,
                do=f"cast it to one of: {', '.join(known)}",
            )


def check_same_columns(schema: pl.Schema, table: pl.Schema, *, where: str) -> None:
    """Refuse rows whose columns are not those of the table."""
    if missing := [column for column in table if column not in schema]:
        raise BadRows(
            f"the rows lack column {', '.join(map(repr, missing))}",
            where=where,
            do=f"give every column of the table: {', '.join(table.names())}",
        )
    if new := [column for column in schema if column not in table]:
        raise BadRows(
            f"the table has no column {', '.join(map(repr, new))}",
            where=where,
            do=f"drop it, or write to another table; this one has: {', '.join(table.names())}",
        )
    for column, dtype in schema.items():
        if dtype != table[column]:
            raise BadRows(
                f"column {column!r} is {dtype}, the table holds {table[column]}",
                where=where,
                do=f"cast column {column!r} to {table[column]}",
            )


def canonical_parts(values: pl.Series) -> tuple[bytes, ...]:
    r"""Little-endian bytes of a column, in parts that can each be fed to a hash, chunk after chunk.

    The parts are: which values are null (a byte each), then the numbers, or for text the lengths (uint32, in bytes
    of UTF-8) and the text itself. A null counts as zero or as empty text. Every NaN has the same bytes.

    >>> [part.hex() for part in canonical_parts(pl.Series([1, None], dtype=pl.Int16()))]
    ['0001', '01000000']
    >>> canonical_parts(pl.Series(["a", "bc"]))[1:]
    (b'\x01\x00\x00\x00\x02\x00\x00\x00', b'abc')
    """
    nulls = values.is_null().to_numpy().astype("|u1").tobytes()
    if values.dtype == pl.String():
        text = values.fill_null("")
        lengths = text.str.len_bytes().to_numpy().astype("<u4").tobytes()
        return nulls, lengths, str(text.str.join("").item()).encode()
    numbers = values.to_physical().fill_null(value=False if values.dtype == pl.Boolean() else 0).to_numpy()
    if values.dtype.is_float():
        numbers = np.where(np.isnan(numbers), np.array(np.nan, numbers.dtype), numbers)
    return nulls, numbers.astype(_NUMBERS[values.dtype][1]).tobytes()
