"""What a table holds of every series, and what is missing."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import polars as pl

from springtide.domain.rows import SERIES, TIME, Gap, SeriesFacts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["facts_of"]


def facts_of(rows: pl.LazyFrame, key: Sequence[str], step_s: int | None) -> list[SeriesFacts]:
    """Count rows, span, gaps and repeated keys of each series.

    Parameters
    ----------
    rows : LazyFrame
        Rows with the key columns; times are UTC with microseconds.
    key : sequence of str
        The columns that name a row.
    step_s : int or None
        Seconds from one row to the next; None: no grid, so no gaps.

    Returns
    -------
    list of SeriesFacts
        In alphabetical order of the series.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> hours = [datetime(2024, 1, 1, hour, tzinfo=UTC) for hour in (0, 1, 4)]
    >>> [facts] = facts_of(pl.LazyFrame({"unique_id": ["a"] * 3, "ds": hours}), ("unique_id", "ds"), 3600)
    >>> facts.rows, facts.gaps[0].first.hour, facts.gaps[0].last.hour, facts.gaps[0].steps
    (3, 2, 3, 2)
    """
    rest = [column for column in key if column not in (SERIES, TIME)]
    same_series = pl.col(SERIES) == pl.col(SERIES).shift()
    same_key = pl.all_horizontal(pl.col(column) == pl.col(column).shift() for column in key)
    keys = (
        rows.select(key)
        .sort(SERIES, TIME, *rest)
        .with_columns(
            pl.when(same_series).then(pl.col(TIME).diff()).alias("passed"),
            same_key.fill_null(value=False).alias("repeats"),
        )
        .collect()
    )
    totals = keys.group_by(SERIES, maintain_order=True).agg(
        pl.len().alias("rows"),
        pl.col(TIME).first().alias("first"),
        pl.col(TIME).last().alias("last"),
        pl.col("repeats").sum().alias("duplicates"),
    )
    gaps: Mapping[str, tuple[Gap, ...]] = {} if step_s is None else _gaps(keys, step_s)
    return [
        SeriesFacts(series, count, first, last, gaps.get(series, ()), duplicates)
        for series, count, first, last, duplicates in totals.iter_rows()
    ]


def _gaps(keys: pl.DataFrame, step_s: int) -> Mapping[str, tuple[Gap, ...]]:
    """Missing steps of each series; `passed` is the time since the row before."""
    step = pl.duration(seconds=step_s)
    jumps = keys.filter(pl.col("passed") >= 2 * step).with_columns(
        (pl.col("passed").dt.total_seconds() // step_s - 1).alias("steps")
    )
    jumps = jumps.with_columns((pl.col(TIME) - pl.col("passed") + step).alias("first"))
    jumps = jumps.with_columns((pl.col("first") + (pl.col("steps") - 1) * step).alias("last"))
    gaps: dict[str, list[Gap]] = defaultdict(list)
    for series, first, last, steps in jumps.select(SERIES, "first", "last", "steps").iter_rows():
        gaps[series].append(Gap(series, first, last, steps))
    return {series: tuple(found) for series, found in gaps.items()}
