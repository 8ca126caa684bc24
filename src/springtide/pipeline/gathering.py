"""The rows that a task asks for, fixed: of the model's table, and of every table outside it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from springtide.domain.errors import NotFound
from springtide.domain.rows import Snapshot
from springtide.registry.wire import snapshot_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import polars as pl

    from springtide.domain.rows import Filter
    from springtide.lake.table import Table
    from springtide.settings.words import Model
    from springtide.tasks.seam import Task

__all__ = ["RESOLUTION", "Gathered", "end_of_known", "gather", "gather_again", "snapshot_facts", "snapshots_from"]

RESOLUTION = timedelta(microseconds=1)  # of the times of rows


@dataclass(frozen=True, slots=True)
class Gathered:
    """Rows that stay the same however the tables go on; `outside` and `others` by the name of the table.

    A table that begins later than what was known has no snapshot and no row in `others`; `unknown` says so.
    """

    snapshot: Snapshot
    rows: pl.LazyFrame
    outside: Mapping[str, Snapshot]
    others: Mapping[str, pl.LazyFrame]
    unknown: tuple[str, ...] = ()


def gather(
    settings: Model, *, task: Task[Any, Any, Any], tables: Callable[[str], Table], known_at: datetime | None
) -> Gathered:
    """Fix what a run learns from; nothing that was not known at `known_at` where it is given.

    Tables outside the model's own may begin later than that: what is read of them is not known then, and no error.

    Raises
    ------
    NotFound
        If there is no such table or series.
    TooFewRows
        If the model's table has no row of what is asked for by then, or another one has none at all.
    """
    table = tables(settings.table)
    until = None if known_at is None else end_of_known(known_at, table.step_s)
    snapshot = table.snapshot(task.rows(settings.recipe, until=until))
    outside, others, unknown = {}, {}, []
    for name, which in task.outside(settings.recipe).items():
        other = tables(name)
        known, missing = _known(other, replace(which, end=known_at))
        if missing:
            unknown.append(f"table {name}: no row of {', '.join(missing)} was known by {known_at:%Y-%m-%d %H:%M}")
        if known is None:
            others[name] = other.scan().clear()
        else:
            outside[name] = other.snapshot(known)
            others[name] = other.rows(outside[name])
    return Gathered(snapshot, table.rows(snapshot), outside, others, tuple(unknown))


def _known(table: Table, which: Filter) -> tuple[Filter | None, tuple[str, ...]]:
    """`which` without the series that begin only after its end, and those; None where no series is left."""
    if which.end is None:
        return which, ()
    begun, ever = table.series(which), table.series(replace(which, end=None))
    missing = sorted(set(which.series) - set(begun))
    if not ever or not set(missing) <= set(ever) or (begun and not missing):
        return which, ()  # all is there; or is not at any time, and the snapshot says so
    return (replace(which, series=begun) if begun else None), tuple(missing or ("any series",))


def gather_again(
    snapshot: Snapshot, outside: Iterable[Snapshot], *, tables: Callable[[str], Table], asked: Iterable[str] = ()
) -> Gathered:
    """The very rows that an earlier run gathered, however the tables have gone on since.

    Every value is read once to compare the hash. A table of `asked` without a snapshot had no row then, and has none here.

    Raises
    ------
    NotFound
        If a table, a version or its files are gone.
    Conflict
        If a version has other rows than it had then.
    """
    fixed = {one.table: one for one in outside}
    for one in (snapshot, *fixed.values()):
        tables(one.table).verify(one)
    others = {name: tables(name).rows(one) for name, one in fixed.items()}
    others |= {name: tables(name).scan().clear() for name in asked if name not in fixed}
    return Gathered(snapshot, tables(snapshot.table).rows(snapshot), fixed, others)


def snapshot_facts(gathered: Gathered) -> dict[str, Any]:
    """The snapshots as plain JSON, for the record of a run: the model's, and by the name of the table those in `outside`."""
    facts: dict[str, Any] = msgspec.to_builtins(gathered.snapshot)
    if gathered.outside:
        facts["outside"] = msgspec.to_builtins(gathered.outside)
    if gathered.unknown:
        facts["outside_unknown"] = list(gathered.unknown)
    return facts


def snapshots_from(facts: Mapping[str, Any]) -> tuple[Snapshot, tuple[Snapshot, ...]]:
    """Read what `snapshot_facts` wrote: the model's snapshot, and those of the tables outside it.

    Raises
    ------
    NotFound
        If the record is of a time when the filter of the rows was not written down.
    """
    own = {one.name: facts[one.name] for one in fields(Snapshot) if one.name in facts}
    every = (own, *facts.get("outside", {}).values())
    if not all("filter" in one for one in every):
        raise NotFound(
            "the record does not say which rows of the table were asked for",
            where="step snapshot",
            do="take the snapshot from the manifest of the version that the run made",
        )
    first, *others = (snapshot_from(one) for one in every)
    return first, tuple(others)


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
