"""The rows that a task asks for, fixed: of the model's table, and of every table outside it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import polars as pl

    from springtide.domain.rows import Snapshot
    from springtide.lake.table import Table
    from springtide.settings.words import Model
    from springtide.tasks.seam import Task

__all__ = ["RESOLUTION", "Gathered", "end_of_known", "gather"]

RESOLUTION = timedelta(microseconds=1)  # of the times of rows


@dataclass(frozen=True, slots=True)
class Gathered:
    """Rows that stay the same however the tables go on; `outside` and `others` by the name of the table."""

    snapshot: Snapshot
    rows: pl.LazyFrame
    outside: Mapping[str, Snapshot]
    others: Mapping[str, pl.LazyFrame]

    @property
    def versions(self) -> dict[str, int]:
        """The version of every table that was read."""
        return {one.table: one.version for one in (self.snapshot, *self.outside.values())}


def gather(
    settings: Model,
    *,
    task: Task[Any, Any, Any],
    tables: Callable[[str], Table],
    known_at: datetime | None,
    versions: Mapping[str, int] = MappingProxyType({}),
) -> Gathered:
    """Fix what a run learns from; nothing that was not known at `known_at` where it is given.

    Tables that `versions` names are read as they were then, all others as they are now.

    Raises
    ------
    NotFound
        If there is no such table or series.
    TooFewRows
        If a table has no row of what is asked for.
    """
    table = tables(settings.table)
    until = None if known_at is None else end_of_known(known_at, table.step_s)
    snapshot = table.snapshot(task.rows(settings.recipe, until=until), versions.get(settings.table))
    outside, others = {}, {}
    for name, which in task.outside(settings.recipe).items():
        other = tables(name)
        outside[name] = other.snapshot(replace(which, end=known_at), versions.get(name))
        others[name] = other.rows(outside[name])
    return Gathered(snapshot, table.rows(snapshot), outside, others)


def end_of_known(moment: datetime, step_s: int | None) -> datetime:
    """Where a filter of rows ends that lets through only what is known at `moment`.

    A row is named by the time at which its step begins (the open time of a candle), and is known when the step ends:
    the candle that is open at `moment` is not. Without a grid a row is known just after the time it is named by.

    >>> from datetime import UTC
    >>> half_past_nine = datetime(2024, 1, 1, 9, 30, tzinfo=UTC)
    >>> end = end_of_known(half_past_nine, 3600)
    >>> datetime(2024, 1, 1, 8, tzinfo=UTC) < end < datetime(2024, 1, 1, 9, tzinfo=UTC)
    True
    """
    return moment if step_s is None else moment - timedelta(seconds=step_s) + RESOLUTION
