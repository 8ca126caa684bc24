"""How much a file holds once it is unpacked: told before it is, for a few kilobytes may hold many gigabytes."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from springtide.domain.errors import TooLarge
from springtide.sources.files.footer import announced_bytes

__all__ = ["Bound", "check_unpacked"]

CELL, TEXT = 8, 16  # bytes that a number takes in memory, and a text beside its letters
PIECE_ROWS = 250_000  # whose texts are measured at a time


@dataclass(frozen=True, slots=True)
class Bound:
    """The most bytes that a table may take in memory, and what to do about one that takes more."""

    most: int
    do: str

    def check(self, size: int, where: str) -> None:
        """Raise `TooLarge` where it is more."""
        if size > self.most:
            raise self.exceeded(where)

    def exceeded(self, where: str) -> TooLarge:
        """What is said of a table that takes more."""
        return TooLarge(f"it unpacks to more than {self.most:,} bytes", where=where, do=self.do)


def check_unpacked(data: bytes, rows: pl.LazyFrame, *, bound: Bound, where: str) -> None:
    """Refuse a Parquet file whose columns in `rows` take too much.

    The footer tells how much is packed, and how many rows there are, but not what a text that is kept once and repeated
    comes to: the lengths of texts are added up without making them.

    Raises
    ------
    TooLarge
        If it is more than `bound`.
    """
    bound.check(announced_bytes(data), where)
    count, schema = rows.select(pl.len()).collect().item(), rows.collect_schema()
    texts = [
        name for name, dtype in schema.items() if isinstance(dtype, pl.String | pl.Binary | pl.Categorical | pl.Enum)
    ]
    size = count * (CELL * len(schema) + (TEXT - CELL) * len(texts))
    bound.check(size, where)
    for start in range(0, count, PIECE_ROWS) if texts else ():
        lengths = (_length(name, schema[name]) for name in texts)
        size += sum(rows.slice(start, PIECE_ROWS).select(lengths).collect().row(0))
        bound.check(size, where)


def _length(name: str, dtype: pl.DataType) -> pl.Expr:
    """The bytes of all texts of a column."""
    length = pl.col(name).bin.size() if dtype == pl.Binary() else pl.col(name).cast(pl.String).str.len_bytes()
    return length.cast(pl.Int64).sum()
