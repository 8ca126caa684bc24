"""What incoming rows would change: which are new, which correct a known row, which say nothing new."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from springtide.domain.errors import BadRows

__all__ = ["Changes", "classify", "one_row_per_key"]


@dataclass(frozen=True, slots=True)
class Changes:
    """Incoming rows beside those that a table holds."""

    new: pl.DataFrame
    corrected: pl.DataFrame
    unchanged: int


def one_row_per_key(rows: pl.DataFrame, key: tuple[str, ...], *, where: str) -> pl.DataFrame:
    """Rows sorted by key, equal rows collapsed; refuses a null in the key and two different rows with one key."""
    for column in key:
        if nulls := rows[column].null_count():
            raise BadRows(
                f"{nulls} rows have no {column!r}, which is part of the key",
                where=where,
                do=f"drop those rows or fill in {column!r}",
            )
    rows = rows.sort(key)
    if not _repeats(rows, key).any():
        return rows
    rows = rows.unique(maintain_order=True)
    if (repeats := _repeats(rows, key)).any():
        first = rows.filter(repeats).select(key).row(0)
        raise BadRows(
            f"{repeats.sum()} rows have the key of another row and other values (first: {', '.join(map(str, first))})",
            where=where,
            do="give one row per key",
        )
    return rows


def _repeats(rows: pl.DataFrame, key: tuple[str, ...]) -> pl.Series:
    """Of rows sorted by key: which have the key of the row before."""
    same = pl.all_horizontal(pl.col(column) == pl.col(column).shift() for column in key)
    return rows.select(same.fill_null(value=False).alias("repeats")).to_series()


def classify(incoming: pl.DataFrame, known: pl.DataFrame, key: tuple[str, ...]) -> Changes:
    """Compare rows that have one row per key each and the same columns; null equals null, NaN equals NaN.

    >>> incoming = pl.DataFrame({"unique_id": ["a", "b", "c"], "y": [1, 2, 3]})
    >>> known = pl.DataFrame({"unique_id": ["b", "c"], "y": [2, 0]})
    >>> changes = classify(incoming, known, ("unique_id",))
    >>> changes.new["unique_id"].to_list(), changes.corrected["unique_id"].to_list(), changes.unchanged
    (['a'], ['c'], 1)
    """
    if known.is_empty():
        return Changes(new=incoming, corrected=incoming.clear(), unchanged=0)
    values = [column for column in incoming.columns if column not in key]
    before = {column: f"{number} before" for number, column in enumerate(values)}
    joined = incoming.join(
        known.select(*key, *(pl.col(column).alias(old) for column, old in before.items()), pl.lit(1).alias(" known")),
        on=key,
        how="left",
        maintain_order="left",
    )
    is_new = joined[" known"].is_null()
    differs = joined.select(
        pl.any_horizontal(
            pl.lit(value=False), *(pl.col(column).ne_missing(pl.col(old)) for column, old in before.items())
        )
    ).to_series()
    corrected = incoming.filter(~is_new & differs)
    return Changes(new=incoming.filter(is_new), corrected=corrected, unchanged=int((~is_new & ~differs).sum()))
