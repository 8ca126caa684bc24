"""Runs by data: when so many rows have come since the last run."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl

from springtide.domain.errors import NotFound
from springtide.domain.rows import SERIES
from springtide.domain.trigger import TriggerState
from springtide.lake.place import store_failures
from springtide.pipeline.triggers.elsewhere import Elsewhere
from springtide.pipeline.triggers.firing import Firing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Executor
    from datetime import datetime

    from springtide.lake.table import Table
    from springtide.lake.tables import Lake

__all__ = ["NewRowsTriggers", "Wanted"]

LOOK = timedelta(seconds=5)  # how often the version of a table is looked at


@dataclass(frozen=True, slots=True)
class Wanted:
    """A run for every `rows` new rows of some series of a table (of all when empty)."""

    table: str
    series: tuple[str, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class _Base:
    """How many rows of a model there were in a version of its table."""

    version: int
    rows: int


@dataclass(frozen=True, slots=True)
class _Counted:
    """What a look found: the rows of each model now, and when its newest run saw them."""

    version: int
    rows: Mapping[str, int]
    seen: Mapping[str, _Base]


NOTHING = _Base(version=-1, rows=0)


class NewRowsTriggers:
    """Counts what is new in the tables of models.

    Rows are counted from the snapshot of the model's newest run on, or from the firing that started the coming one.
    Every table's version is looked at; only when it has moved are rows counted, of all models in one pass.

    Parameters
    ----------
    wanted
        What each model waits for.
    lake
        Where the tables are.
    snapshots
        Gives the version of a table that the newest run of each model saw.
    pool
        Where looks are made: a table may be far away.
    """

    kind = "new_rows"

    def __init__(
        self,
        wanted: Mapping[str, Wanted],
        *,
        lake: Lake,
        snapshots: Callable[[str], Mapping[str, int]],
        pool: Executor,
    ) -> None:
        self._wanted = wanted
        self._lake, self._snapshots = lake, snapshots
        self._models: dict[str, list[str]] = defaultdict(list)  # by table
        for model, one in wanted.items():
            self._models[one.table].append(model)
        self._looks = Elsewhere(pool, self._look)
        self._looked: dict[str, datetime] = {}
        self._fired: dict[str, _Base] = {}
        self._counted: dict[str, _Counted] = {}  # by table

    def take_up(self, seen: Mapping[str, TriggerState], now: datetime) -> list[TriggerState]:
        """Remember how many rows there were when each was last fired."""
        self._fired = {model: _base(seen[model]) for model in self._wanted if model in seen}
        self._looked, self._counted = {}, {}
        return []

    def due(self, now: datetime) -> Iterator[Firing]:
        """Models with enough new rows, by the looks that have ended."""
        for table in self._models:
            if table not in self._looked or abs(now - self._looked[table]) >= LOOK:
                self._looks.begin(table, now)
                self._looked[table] = now
        for table, counted in self._looks.results():
            if counted is not None:
                self._counted[table] = counted
        for table, models in self._models.items():
            if table in self._counted:
                yield from self._enough(models, self._counted[table], now)

    def _enough(self, models: Sequence[str], counted: _Counted, now: datetime) -> Iterator[Firing]:
        for model in models:
            rows, limit = counted.rows[model], self._wanted[model].rows
            bases = [base for base in (counted.seen.get(model), self._fired.get(model)) if base is not None]
            # A base from a later version is of a table that has been made anew since.
            known = max((base for base in bases if base.version <= counted.version), key=_version, default=NOTHING)
            if (new := rows - known.rows) >= limit:
                facts = {"version": counted.version, "rows": rows}
                reason = f"{new:,} new rows since the last run (new_rows {limit:,})"
                yield Firing(model, reason, TriggerState(model, self.kind, now, facts))

    def settle(self, firing: Firing) -> None:
        """Count from here on."""
        self._fired[firing.model] = _base(firing.after)

    def _look(self, name: str) -> _Counted | None:
        """Count again if the table has moved; None where it has not, or is not there yet."""
        try:
            table = self._lake.table(name)
        except NotFound:
            return None
        version, last = table.version(), self._counted.get(name)
        if last is not None and version == last.version:
            return None
        counts = _rows_by_series(table, version)
        rows = {model: self._count(model, counts) for model in self._models[name]}
        return _Counted(version, rows, self._seen(table, {} if last is None else last.seen))

    def _seen(self, table: Table, last: Mapping[str, _Base]) -> dict[str, _Base]:
        """What the newest run of each model saw; counted only where that is not known from the `last` look."""
        seen: dict[str, _Base] = {}
        counts: dict[int, Mapping[str, int]] = {}
        for model, version in self._snapshots(table.name).items():
            if model not in self._models[table.name]:
                continue
            if model in last and last[model].version == version:
                seen[model] = last[model]
                continue
            if version not in counts:
                counts[version] = _rows_by_series(table, version)
            seen[model] = _Base(version, self._count(model, counts[version]))
        return seen

    def _count(self, model: str, counts: Mapping[str, int]) -> int:
        series = self._wanted[model].series
        return sum(counts.get(one, 0) for one in series) if series else sum(counts.values())


def _base(fired: TriggerState) -> _Base:
    return _Base(int(fired.facts["version"]), int(fired.facts["rows"]))


def _version(base: _Base) -> int:
    return base.version


def _rows_by_series(table: Table, version: int) -> dict[str, int]:
    """How many rows each series has in a version; none where the version's files are gone."""
    try:
        with store_failures(table.where):
            counts = table.scan(version).group_by(SERIES).agg(pl.len()).collect()
    except NotFound:
        return {}
    return dict(counts.iter_rows())
