"""Batches that arrive together are stored in one commit, which says whose they are; the database only indexes that."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from springtide.domain.errors import Conflict, NotReady, SpringtideError, StoreFailed
from springtide.domain.regions import Receipt, RejectedRow
from springtide.domain.rows import TIME
from springtide.lake.table import Parcel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import polars as pl

    from springtide.lake.table import Parcels, Table
    from springtide.lake.tables import Lake
    from springtide.registry.registry import Registry

__all__ = ["Delivery", "Intake", "catch_up", "check_same"]

MOST_BATCHES, MOST_ROWS = 500, 1_000_000  # of one commit
COMPACT_EVERY = 100  # versions: a table in many small files is slow to read
PASSING = (NotReady, StoreFailed)  # what fails for these reasons fails for all, and may come again
SHOWN = 20  # rejected rows that a receipt repeats

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One batch that has been read and waits to be stored; `count` rows were sent, `rows` can be taken."""

    table: str
    key: tuple[str, ...]
    step_s: int | None
    region: str
    batch: str
    sha256: str
    at: datetime
    count: int
    rows: pl.DataFrame
    rejected: tuple[RejectedRow, ...]
    keep_rejected: int
    facts: Mapping[str, Any] = field(init=False)  # what the commit says of it: all that its receipt needs
    keys: pl.Series = field(init=False, repr=False)  # a hash of each row's key
    stored: Future[Receipt] = field(default_factory=Future)

    def __post_init__(self) -> None:
        """Work out the facts now: what cannot be said of a batch must not fail the commit of others."""
        object.__setattr__(self, "facts", self._facts())
        object.__setattr__(self, "keys", self.rows.select(self.key).hash_rows())

    @property
    def name(self) -> tuple[str, str]:
        """By which it is known within its table."""
        return self.region, self.batch

    def _facts(self) -> dict[str, Any]:
        first, last = self.rows[TIME].min(), self.rows[TIME].max()
        assert isinstance(first, datetime)  # tells the type checker that a delivery has rows
        assert isinstance(last, datetime)
        return {
            "region": self.region,
            "batch": self.batch,
            "sha256": self.sha256,
            "at": self.at.isoformat(),
            "rows": self.count,
            "rejected": len(self.rejected),
            "first": first.isoformat(),
            "last": last.isoformat(),
        }


class Intake:
    """What waits to be stored, table by table; whatever has come while a commit is made goes into the next one together.

    One thread a table commits. Other processes may write to the same tables: what they have committed is looked at before
    it is decided what is new.
    """

    def __init__(self, lake: Lake, registry: Registry) -> None:
        self._lake, self._registry = lake, registry
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[Delivery]] = defaultdict(deque)
        self._threads: dict[str, ThreadPoolExecutor] = {}

    def put(self, delivery: Delivery) -> Future[Receipt]:
        """Let a batch be stored; its receipt comes when it is, or why it could not be."""
        name = delivery.table
        with self._lock:
            if name not in self._threads:
                self._threads[name] = ThreadPoolExecutor(1, thread_name_prefix=f"store-{name}")
            self._waiting[name].append(delivery)
            self._threads[name].submit(self._store_next, name)
        return delivery.stored

    def close(self) -> None:
        """Store what waits, and take nothing more."""
        with self._lock:
            threads = list(self._threads.values())
        for thread in threads:
            thread.shutdown()

    def _store_next(self, name: str) -> None:
        """Store what waits; there is a call for every batch, and one that others were stored with finds less or nothing."""
        with self._lock:
            waiting = self._waiting[name]
        group = _take_group(waiting)  # only this thread takes from them
        if group:
            self._store_group(name, group)

    def _store_group(self, name: str, group: Sequence[Delivery]) -> None:
        """Store batches in one commit; where that fails for good, each in its own, so that only the guilty ones fail."""
        try:
            table = self._lake.open(name, key=group[0].key, step_s=group[0].step_s)
            written, outcomes = _store(group, table, self._registry)
        except BaseException as error:  # noqa: BLE001 - whoever waits for the receipt is told
            if len(group) > 1 and not isinstance(error, PASSING):
                for delivery in group:
                    self._store_group(name, [delivery])
                return
            for delivery in group:
                delivery.stored.set_exception(error)
            return
        for delivery, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, Receipt):
                delivery.stored.set_result(outcome)
            else:
                delivery.stored.set_exception(outcome)
        if written is not None and written.version > 0 and written.version % COMPACT_EVERY == 0:
            _compact(table)


def catch_up(registry: Registry, table: Table, lake_id: str, version: int) -> None:
    """Index what commits hold and the database does not: a process was killed in between, or is about to do it itself."""
    indexed = registry.indexed_batches(table.name)
    since = indexed[1] if indexed is not None and indexed[0] == lake_id else -1
    if since >= version:
        return
    receipts = [receipt for parcels in table.parcels_after(since) for receipt in _receipts(table.name, parcels)]
    if receipts:
        registry.enter_batches(table.name, lake_id, receipts)


def _take_group(waiting: deque[Delivery]) -> list[Delivery]:
    """As many of the first as can be stored in one commit: no batch twice, and no two rows of one key."""
    group: list[Delivery] = []
    names: set[tuple[str, str]] = set()
    keys: set[int] = set()
    rows = 0
    while waiting and len(group) < MOST_BATCHES:
        following = waiting[0]
        rows += following.rows.height
        if group and (rows > MOST_ROWS or following.name in names or not keys.isdisjoint(following.keys.to_list())):
            break
        waiting.popleft()
        if following.stored.set_running_or_notify_cancel():
            group.append(following)
            names.add(following.name)
            keys.update(following.keys.to_list())
    return group


def _store(
    group: Sequence[Delivery], table: Table, registry: Registry
) -> tuple[Parcels | None, list[Receipt | Conflict]]:
    """Commit the batches that are new, then index them; of all, what came of it.

    A kill between the two loses nothing: the index is brought up to the commits before anything is compared with it.
    """
    known: dict[tuple[str, str], Receipt] = {}
    lake_id: str | None = None

    def choose(now_id: str | None, version: int) -> list[Parcel]:
        nonlocal known, lake_id
        lake_id = now_id
        if now_id is not None:
            catch_up(registry, table, now_id, version)
            known = registry.find_batches(table.name, now_id, [one.name for one in group])
        new = [one for one in group if one.name not in known]
        reasons = [row for one in new for row in one.rejected]
        if reasons:  # before the commit, which only counts them
            registry.reject_rows(table.name, reasons, keep=group[0].keep_rejected)
        return [Parcel(one.rows, one.facts) for one in new]

    written = table.write_parcels(choose)
    fresh = {} if written is None else {(one.region, one.batch): one for one in _receipts(table.name, written)}
    outcomes = [_outcome(one, fresh, known) for one in group]
    again = [
        replace(outcome, at=sent.at)
        for sent, outcome in zip(group, outcomes, strict=True)
        if isinstance(outcome, Receipt) and outcome.repeated
    ]
    registry.enter_batches(
        table.name, str(lake_id if written is None else written.lake_id), list(fresh.values()), again=again
    )
    return written, outcomes


def _outcome(
    sent: Delivery, fresh: Mapping[tuple[str, str], Receipt], known: Mapping[tuple[str, str], Receipt]
) -> Receipt | Conflict:
    if sent.name in fresh:
        return replace(fresh[sent.name], reasons=sent.rejected[:SHOWN])
    return check_same(known[sent.name], sent.sha256)


def check_same(receipt: Receipt, sha256: str) -> Receipt | Conflict:
    """The receipt of a batch that has come again; a conflict when it has another content now."""
    if receipt.sha256 == sha256:
        return replace(receipt, repeated=True)
    return Conflict(
        f"batch {receipt.batch!r} was taken with other content on {receipt.at:%Y-%m-%d %H:%M} UTC",
        where=f"table {receipt.table}, region {receipt.region}",
        do="send corrections as a batch of their own: rows with a known key replace the known ones",
    )


def _receipts(table: str, parcels: Parcels) -> Iterator[Receipt]:
    for facts in parcels.facts:
        yield Receipt(
            table=table,
            region=facts["region"],
            batch=facts["batch"],
            sha256=facts["sha256"],
            at=datetime.fromisoformat(facts["at"]),
            version=parcels.version,
            rows=facts["rows"],
            new=facts["new"],
            corrected=facts["corrected"],
            unchanged=facts["rows"] - facts["rejected"] - facts["new"] - facts["corrected"],
            rejected=facts["rejected"],
            first=datetime.fromisoformat(facts["first"]),
            last=datetime.fromisoformat(facts["last"]),
        )


def _compact(table: Table) -> None:
    """Join small files; where that does not work now, it will the next time."""
    try:
        table.compact()
    except SpringtideError as error:
        LOG.warning("table %s could not be compacted: %s", table.name, error)
