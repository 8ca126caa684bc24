"""A table: one row per key, every write a version, and snapshots that can be repeated."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, DeltaError

from springtide.domain.errors import Conflict, NotFound, NotReady, SettingsError, StoreFailed, TooFewRows, did_you_mean
from springtide.domain.rows import SERIES, TIME, Filter, SeriesFacts, Snapshot
from springtide.lake.changes import Changes, classify, one_row_per_key
from springtide.lake.columns import check_columns, check_same_columns
from springtide.lake.facts import facts_of
from springtide.lake.fingerprint import fingerprint
from springtide.lake.form import Form, check_same_form
from springtide.lake.place import Place, store_failures

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

T = TypeVar("T")

__all__ = ["Change", "Parcel", "Parcels", "Table", "Written"]

_ATTEMPTS = 30
_CHUNK_ROWS = 500_000
# A row group is the least that is read: small enough for the newest hours, large enough to compress.
_FILES = WriterProperties(max_row_group_size=131_072, compression="ZSTD")
_CHECKPOINT_VERSIONS = 50  # opening a table reads the log since the last checkpoint
# After the commit, not as part of it: a disk that fills up in between must not make a write look undone.
_NO_CHECKPOINT = PostCommitHookProperties(create_checkpoint=False)
_CONFIGURATION = {
    # Delta forgets old versions after 30 days; a run of last year must still find its rows.
    "delta.enableExpiredLogCleanup": "false",
    "delta.logRetentionDuration": "interval 36500 days",
}


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did; `version` is the table's version afterwards."""

    version: int
    new: int
    corrected: int
    unchanged: int


@dataclass(frozen=True, slots=True)
class Parcel:
    """Rows of one sender, and what the commit that stores them shall say of them: plain JSON."""

    rows: pl.DataFrame
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Parcels:
    """What one commit says of the parcels it stored: their facts, each with ``new``, ``corrected`` and ``unchanged``.

    `lake_id` tells a table from one of the same name that was there before.
    """

    lake_id: str
    version: int
    facts: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a table's history; the counts are None where the change was not made by a write of ours."""

    version: int
    at: datetime
    operation: str
    new: int | None = None
    corrected: int | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows with one key each; every method sees the newest version unless told otherwise."""

    name: str
    form: Form
    place: Place = field(repr=False)
    draw: Callable[[], float] = field(repr=False)
    sleep: Callable[[float], None] = field(repr=False)

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that name a row."""
        return self.form.key

    @property
    def step_s(self) -> int | None:
        """Seconds from one row of a series to the next; None where there is no grid."""
        return self.form.step_s

    @property
    def where(self) -> str:
        """The table as errors name it."""
        return f"table {self.name}"

    def version(self) -> int:
        """The number of the newest version; -1 before the first write."""
        delta = self.place.load(self.name)
        return -1 if delta is None else delta.version()

    def mark(self, name: str) -> int | None:
        """How far a source has come: the number last given to `write` under this name."""
        delta = self.place.load(self.name)
        return None if delta is None else delta.transaction_version(name)

    # -- writing -------------------------------------------------------------------------------------------------

    def write(self, rows: pl.DataFrame, *, marks: Mapping[str, int] | None = None) -> Written:
        """Insert new rows and correct known ones, together with the marks, in one version; all or nothing.

        Rows that say nothing new make no version, unless a mark moves. Somebody else's version in between is not
        an error: the rows are compared again, with what is there then.

        Raises
        ------
        BadRows
            If a column is missing, new or of another dtype, a key is null, or two different rows have one key.
        StoreFailed
            If the disk is full or the store does not answer; the table stays as it was.
        NotReady
            If others kept writing in between; it may work the next time.
        """
        return self._overtaking(lambda delta: self._write(delta, rows, marks or {}))

    def write_parcels(self, choose: Callable[[str | None, int], Sequence[Parcel]]) -> Parcels | None:
        """Store several senders' rows in one version, which says what came from whom; all or nothing.

        `choose` is given the table's id and version (None and -1 before the first write) and says what to store on top of
        exactly that version; it is asked again when somebody else's version came in between. No two parcels may hold the
        same key. Returns None when nothing was chosen. Raises as `write` does.
        """

        def write(delta: DeltaTable | None) -> Parcels | None:
            chosen = choose(None, -1) if delta is None else choose(str(delta.metadata().id), delta.version())
            return self._write_parcels(delta, chosen) if chosen else None

        return self._overtaking(write)

    def parcels_after(self, version: int) -> list[Parcels]:
        """What the commits after a version say of their parcels, the oldest first."""
        delta = self._at(None)
        with store_failures(self.where):
            missing = delta.version() - version
            lines = delta.history(limit=missing) if missing > 0 else []
        lake_id = str(delta.metadata().id)
        told = [line for line in reversed(lines) if "parcels" in line]
        return [Parcels(lake_id, line["version"], tuple(json.loads(line["parcels"]))) for line in told]

    def identity(self) -> tuple[str, int]:
        """What tells this table from one of the same name that was there before, and its newest version."""
        delta = self._at(None)
        return str(delta.metadata().id), delta.version()

    def _overtaking(self, write: Callable[[DeltaTable | None], T]) -> T:
        """Write on top of the newest version, again while others are quicker."""
        for attempt in range(_ATTEMPTS):
            delta = self.place.load(self.name)
            before = -1 if delta is None else delta.version()
            try:
                with store_failures(self.where):
                    written = write(delta)
            except CommitFailedError as error:
                self._check_was_overtaken(before, error)
                self.sleep(self.draw() * min(2.0, 0.02 * 2**attempt))
            else:
                # `delta` is at the version that was just written, if anything was.
                if delta is not None and delta.version() > before and delta.version() % _CHECKPOINT_VERSIONS == 0:
                    self._checkpoint(delta.version())
                return written
        raise NotReady(  # no Conflict: it passes
            f"others wrote in between {_ATTEMPTS} times, nothing was written",
            where=self.where,
            do="do the same again, or let fewer writers share the table",
        )

    def _checkpoint(self, version: int) -> None:
        with store_failures(self.where, state="the rows are written, the checkpoint of the log is not"):
            self._at(version).create_checkpoint()

    def _check_was_overtaken(self, version: int, error: CommitFailedError) -> None:
        """A commit may also fail for want of a right or of space; waiting would not help then."""
        if self.version() == version:
            raise StoreFailed(
                f"the store refused a new version, nothing was written ({error})",
                where=self.where,
                do="check that the place can be written and has space",
            ) from error

    def _write(self, delta: DeltaTable | None, rows: pl.DataFrame, marks: Mapping[str, int]) -> Written:
        if delta is None:
            check_columns(rows.schema, self.key, where=self.where)
            rows = one_row_per_key(rows, self.key, where=self.where)
            if rows.is_empty() and not marks:
                return Written(-1, 0, 0, 0)
            changes = Changes(new=_in_time_order(rows, self.key), corrected=rows.clear(), unchanged=0)
            self._create(changes.new, self._commit(changes, marks))
            return Written(0, len(rows), 0, 0)
        check_same_form(Form.of(delta), self.form, where=self.where)
        schema = self._scan(delta).collect_schema()
        check_same_columns(rows.schema, schema, where=self.where)
        rows = one_row_per_key(rows.select(schema.names()), self.key, where=self.where)
        changes = self._classify(delta, rows)
        moved = {name: mark for name, mark in marks.items() if delta.transaction_version(name) != mark}
        if not changes.new.is_empty() or not changes.corrected.is_empty() or moved:
            self._apply(delta, changes, self._commit(changes, moved))
        return Written(delta.version(), len(changes.new), len(changes.corrected), changes.unchanged)

    def _write_parcels(self, delta: DeltaTable | None, chosen: Sequence[Parcel]) -> Parcels:
        rows = pl.concat([parcel.rows for parcel in chosen])
        if delta is None:
            check_columns(rows.schema, self.key, where=self.where)
            rows = one_row_per_key(rows, self.key, where=self.where)
            changes = Changes(new=_in_time_order(rows, self.key), corrected=rows.clear(), unchanged=0)
        else:
            check_same_form(Form.of(delta), self.form, where=self.where)
            schema = self._scan(delta).collect_schema()
            check_same_columns(rows.schema, schema, where=self.where)
            changes = self._classify(delta, one_row_per_key(rows.select(schema.names()), self.key, where=self.where))
        facts = _count_parcels(chosen, changes, self.key)
        commit = self._commit(changes, {}, {"parcels": json.dumps(facts)})
        if delta is None:
            self._create(changes.new, commit)
            return Parcels(self.identity()[0], 0, facts)
        lake_id, version = (
            str(delta.metadata().id),
            delta.version() + 1,
        )  # `delta` may be further on by the time it returns
        self._apply(delta, changes, commit)
        return Parcels(lake_id, version, facts)

    def _classify(self, delta: DeltaTable, rows: pl.DataFrame) -> Changes:
        if rows.is_empty():
            return Changes(new=rows, corrected=rows, unchanged=0)
        first, last = _span(rows)
        known = self._scan(delta).filter(
            pl.col(TIME).is_between(first, last), pl.col(SERIES).is_in(rows[SERIES].unique().to_list())
        )
        return classify(rows, known.collect(), self.key)

    def _create(self, rows: pl.DataFrame, commit: CommitProperties) -> None:
        try:
            write_deltalake(
                self.place.uri(self.name),
                rows,
                mode="error",
                description=self.form.describe(),
                configuration=_CONFIGURATION,
                storage_options=self.place.storage,
                writer_properties=_FILES,
                commit_properties=commit,
                post_commithook_properties=_NO_CHECKPOINT,
            )
        except DeltaError as error:
            if self.place.load(self.name) is None:
                raise
            raise CommitFailedError("somebody else created it") from error  # caught by `write`

    def _apply(self, delta: DeltaTable, changes: Changes, commit: CommitProperties) -> None:
        if changes.corrected.is_empty():
            rows = _in_time_order(changes.new, self.key)
            write_deltalake(
                delta,
                rows,
                mode="append",
                writer_properties=_FILES,
                commit_properties=commit,
                post_commithook_properties=_NO_CHECKPOINT,
            )
            return
        first, last = _span(changes.corrected)
        # The bounds keep the merge away from files that hold nothing to correct; rows outside them are the new ones.
        matches = [f't."{column}" = s."{column}"' for column in self.key]
        bounds = [f't."{TIME}" >= {_literal(first)}', f't."{TIME}" <= {_literal(last)}']
        delta.merge(
            _in_time_order(pl.concat([changes.corrected, changes.new]), self.key),
            predicate=" AND ".join(matches + bounds),
            source_alias="s",
            target_alias="t",
            writer_properties=_FILES,
            commit_properties=commit,
            post_commithook_properties=_NO_CHECKPOINT,
        ).when_matched_update_all().when_not_matched_insert_all().execute()

    def _commit(
        self, changes: Changes, marks: Mapping[str, int], said: Mapping[str, str] | None = None
    ) -> CommitProperties:
        """A commit that fails when somebody else's came first: what was compared would no longer be true."""
        return CommitProperties(
            custom_metadata={"new": len(changes.new), "corrected": len(changes.corrected), **(said or {})},
            max_commit_retries=0,
            app_transactions=[Transaction(name, mark) for name, mark in marks.items()],
        )

    def compact(self) -> None:
        """Join small files into larger ones, in a new version that has the same rows."""
        with store_failures(self.where):
            try:
                self._at(None).optimize.compact(writer_properties=_FILES)
            except CommitFailedError as error:
                raise Conflict(
                    "somebody corrected rows that were being compacted; the table is as they left it",
                    where=self.where,
                    do="compact again",
                ) from error

    def vacuum(self, keep: Collection[int] = (), *, retention_hours: int = 168) -> int:
        """Remove files that neither the newest version nor one of `keep` needs; returns how many.

        Files younger than `retention_hours` stay: a write that is under way has files that no version names yet.
        """
        with store_failures(self.where):
            return len(
                self._at(None).vacuum(
                    retention_hours=retention_hours,
                    keep_versions=sorted(keep),
                    dry_run=False,
                    enforce_retention_duration=False,
                    full=True,
                )
            )

    # -- reading -------------------------------------------------------------------------------------------------

    def scan(self, version: int | None = None) -> pl.LazyFrame:
        """All rows of a version, in no particular order."""
        return self._scan(self._at(version))

    def snapshot(self, which: Filter, version: int | None = None) -> Snapshot:
        """Fix which rows a run learns from, by version and by the hash of every value.

        Raises
        ------
        NotFound
            If a series that `which` names has no row.
        TooFewRows
            If there is no row at all.
        """
        delta = self._at(version)
        with store_failures(self.where):
            rows = self._scan(delta).filter(*_conditions(which))
            spans = rows.group_by(SERIES).agg(
                pl.len().alias("rows"), pl.col(TIME).min().alias("first"), pl.col(TIME).max().alias("last")
            )
            found = spans.collect()
            self._check_found(found, which, delta)
            first, last, count = found["first"].min(), found["last"].max(), int(found["rows"].sum())
            assert isinstance(first, datetime)  # tells the type checker what `_check_found` made sure of
            assert isinstance(last, datetime)
            sha256 = fingerprint(rows.collect_schema(), _chunks(rows, self.key, first, last, count))
        return Snapshot(self.name, delta.version(), which, count, sha256, first, last)

    def _check_found(self, found: pl.DataFrame, which: Filter, delta: DeltaTable) -> None:
        span = f"from {which.start or 'the first'} until {which.end or 'the last'}"
        if missing := sorted(set(which.series) - set(found[SERIES])):
            known = self._scan(delta).select(pl.col(SERIES).unique()).collect().to_series().to_list()
            raise NotFound(
                f"no rows of {', '.join(missing)} {span}",
                where=f"{self.where}, version {delta.version()}",
                do="bring in its rows of that time, or ask for another span"
                if missing[0] in known
                else did_you_mean(missing[0], known),
            )
        if found.is_empty():
            raise TooFewRows(
                f"there are no rows {span}",
                where=f"{self.where}, version {delta.version()}",
                do="bring in rows first, or ask for another span",
            )

    def rows(self, snapshot: Snapshot) -> pl.LazyFrame:
        """Exactly the rows of a snapshot, sorted by series and time."""
        return self.scan(snapshot.version).filter(*_conditions(snapshot.filter)).sort(self.key)

    def verify(self, snapshot: Snapshot) -> None:
        """Raise `Conflict` when the rows of a snapshot are no longer those that were learned from."""
        now = self.snapshot(snapshot.filter, snapshot.version)
        if now.sha256 != snapshot.sha256:
            raise Conflict(
                f"the rows of version {snapshot.version} have another hash than when they were learned from",
                where=self.where,
                do="the table was replaced or its files were changed: bring back the old files, or train a new run",
            )

    def series(self, which: Filter, version: int | None = None) -> tuple[str, ...]:
        """The series that have rows in a version (the newest), of those that `which` names, in its span; sorted."""
        delta = self._at(version)
        with store_failures(self.where):
            names = self._scan(delta).filter(*_conditions(which)).select(pl.col(SERIES).unique().sort()).collect()
        return tuple(names[SERIES])

    def facts(self) -> list[SeriesFacts]:
        """What the table holds of every series: rows, span, missing steps, repeated keys."""
        with store_failures(self.where):
            return facts_of(self.scan(), self.key, self.step_s)

    def newest(self, which: Filter, steps: int) -> pl.DataFrame:
        """The last `steps` rows of each series, sorted by series and time; fewer where there are no more.

        Reads backwards from the newest time, further only while a series lacks rows, so that a table of years
        answers as fast as one of weeks.
        """
        delta = self._at(None)
        with store_failures(self.where):
            rows = self._scan(delta).filter(*_conditions(which))
            tail = self._tail(rows, _file_span(delta, which), set(which.series), steps)
            self._check_found(tail, which, delta)
        return tail.sort(self.key).group_by(SERIES, maintain_order=True).tail(steps).select(tail.columns)

    def recent(self, which: Filter) -> pl.DataFrame:
        """The rows of the newest version that `which` names, sorted by series and time; there may be none."""
        delta = self._at(None)
        with store_failures(self.where):
            return self._scan(delta).filter(*_conditions(which)).collect().sort(self.key)

    def _tail(
        self, rows: pl.LazyFrame, files: tuple[datetime, datetime] | None, wanted: set[str], steps: int
    ) -> pl.DataFrame:
        """Rows of a span that ends with the newest, long enough for `steps` rows of every wanted series."""
        if files is None:
            return rows.collect()
        first, last = files
        wanted = wanted or set(rows.select(pl.col(SERIES).unique()).collect().to_series())
        span = timedelta(seconds=(self.step_s or 3600) * (steps + 2))
        while span < last - first:
            tail = rows.filter(pl.col(TIME) >= last - span).collect()
            full = tail.group_by(SERIES).len().filter(pl.col("len") >= steps)
            if wanted <= set(full[SERIES]):
                return tail
            span *= 4
        return rows.collect()

    def history(self) -> list[Change]:
        """Every version with its time and what made it, the newest first."""
        with store_failures(self.where):
            return [
                Change(
                    version=line["version"],
                    at=datetime.fromtimestamp(line["timestamp"] / 1000, UTC),
                    operation=line["operation"].lower(),
                    new=line.get("new"),
                    corrected=line.get("corrected"),
                )
                for line in self._at(None).history()
            ]

    def _at(self, version: int | None) -> DeltaTable:
        delta = self.place.load(self.name, version)
        if delta is None:
            raise NotFound(
                f"table {self.name} has no rows yet", where=f"lake {self.place.url}", do="bring in rows first"
            )
        return delta

    def _scan(self, delta: DeltaTable) -> pl.LazyFrame:
        return pl.scan_delta(delta, storage_options=self.place.storage)


def _conditions(which: Filter) -> list[pl.Expr]:
    for moment in (which.start, which.end):
        if moment is not None and moment.tzinfo is None:
            raise SettingsError(
                f"{moment} does not say in which time zone", where="a filter of rows", do="give a time in UTC"
            )
    conditions = [pl.col(SERIES).is_in(which.series)] if which.series else []
    if which.start is not None:
        conditions.append(pl.col(TIME) >= which.start.astimezone(UTC))
    if which.end is not None:
        conditions.append(pl.col(TIME) < which.end.astimezone(UTC))
    return conditions


def _count_parcels(chosen: Sequence[Parcel], changes: Changes, key: tuple[str, ...]) -> tuple[Mapping[str, Any], ...]:
    """The facts of each parcel, with how many of its rows were of which kind."""
    owners = pl.concat([parcel.rows.select(*key, pl.lit(at).alias(" of")) for at, parcel in enumerate(chosen)])

    def count(rows: pl.DataFrame) -> dict[int, int]:
        return dict(rows.select(key).join(owners, on=key).group_by(" of").len().iter_rows())

    new, corrected = count(changes.new), count(changes.corrected)
    return tuple(
        dict(parcel.facts)
        | {
            "new": new.get(at, 0),
            "corrected": corrected.get(at, 0),
            "unchanged": parcel.rows.height - new.get(at, 0) - corrected.get(at, 0),
        }
        for at, parcel in enumerate(chosen)
    )


def _in_time_order(rows: pl.DataFrame, key: tuple[str, ...]) -> pl.DataFrame:
    """Time first: a read of the newest hours, or of any span, touches few row groups."""
    return rows.sort(TIME, *(column for column in key if column != TIME))


def _span(rows: pl.DataFrame) -> tuple[datetime, datetime]:
    first, last = rows.select(pl.col(TIME).min().alias("first"), pl.col(TIME).max().alias("last")).row(0)
    return first, last


def _file_span(delta: DeltaTable, which: Filter) -> tuple[datetime, datetime] | None:
    """The span of time in the files, by their statistics, cut to the filter; None where a file has none."""
    files = pl.DataFrame(delta.get_add_actions(flatten=True))
    least, most = f"min.{TIME}", f"max.{TIME}"
    if files.is_empty() or least not in files or files[least].has_nulls() or files[most].has_nulls():
        return None
    first, last = files.select(pl.col(least).min(), pl.col(most).max()).row(0)
    return max(first, which.start or first), min(last, which.end or last)


def _literal(moment: datetime) -> str:
    """A time as the query engine of Delta compares it without a cast of the whole column."""
    return f"arrow_cast('{moment.isoformat()}', 'Timestamp(Microsecond, Some(\"UTC\"))')"


def _chunks(
    rows: pl.LazyFrame, key: tuple[str, ...], first: datetime, last: datetime, count: int
) -> Iterator[pl.DataFrame]:
    """All rows in order of time, then of the rest of the key, cut into spans of time so that few are in memory."""
    pieces = -(-count // _CHUNK_ROWS)
    width = (last - first) / pieces + timedelta(microseconds=1)
    for piece in range(pieces):
        since = first + piece * width
        yield _in_time_order(rows.filter(pl.col(TIME) >= since, pl.col(TIME) < since + width).collect(), key)
