"""Batches that arrive together are stored in one commit, which says whose they are; the database only indexes that."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
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

__all__ = ["Arrival", "Intake", "catch_up", "check_same", "count_conflict"]

MOST_BATCHES, MOST_ROWS = 500, 1_000_000  # of one commit
MOST_BYTES = 256 << 20  # that wait to be stored
COMPACT_EVERY = 100  # versions: a table in many small files is slow to read
PASSING = (NotReady, StoreFailed)  # what fails for these reasons fails for all, and may come again
SHOWN = 20  # rejected rows that a receipt repeats

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Arrival:
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
    size: int = field(init=False)  # bytes that it holds while it waits

    def __post_init__(self) -> None:
        """Work out the facts now: what cannot be said of a batch must not fail the commit of others."""
        keys = self.rows.select(self.key).hash_rows()
        object.__setattr__(self, "facts", self._facts())
        object.__setattr__(self, "keys", keys)
        object.__setattr__(self, "size", int(self.rows.estimated_size() + keys.estimated_size()))

    @property
    def name(self) -> tuple[str, str]:
        """By which it is known within its table."""
        return self.region, self.batch

    def _facts(self) -> dict[str, Any]:
        first, last = self.rows[TIME].min(), self.rows[TIME].max()
        assert isinstance(first, datetime)  # tells the type checker that an arrival has rows
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


@dataclass(frozen=True, slots=True)
class Waiting:
    """A batch that waits to be stored, and who waits for its receipt: whoever has sent it, and when."""

    arrival: Arrival
    senders: list[tuple[Future[Receipt], datetime]] = field(default_factory=list)
    after: Future[Receipt] | None = None  # of a batch that must not come to be stored later than this one

    def held_up(self) -> BaseException | None:
        """Why the batch before it will come again; None where it will not, or waits still."""
        if self.after is None or not self.after.done() or self.after.cancelled():
            return None
        error = self.after.exception()
        return error if isinstance(error, PASSING) else None

    def tell(self, outcome: Receipt | BaseException) -> None:
        """Tell all senders what came of it; to all but the first it is a repetition."""
        for at, (sender, _) in enumerate(self.senders):
            if not sender.set_running_or_notify_cancel():
                continue  # a sender that has gone takes nothing back
            if isinstance(outcome, Receipt):
                sender.set_result(outcome if at == 0 else replace(outcome, repeated=True, reasons=()))
            else:
                sender.set_exception(outcome)


class Intake:
    """What waits to be stored, table by table; whatever has come while a commit is made goes into the next one together.

    One thread a table commits. Other processes may write to the same tables: what they have committed is looked at before
    it is decided what is new. A batch that is sent again while it waits does not wait twice.

    Parameters
    ----------
    lake, registry
        Where rows go, and the index of what has come.
    most_bytes
        What may wait at a time, of all tables together; a batch that comes when there is no room for it comes again.
    """

    def __init__(self, lake: Lake, registry: Registry, *, most_bytes: int = MOST_BYTES) -> None:
        self._lake, self._registry = lake, registry
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[Waiting]] = defaultdict(deque)
        self._by_content: dict[tuple[str, ...], Waiting] = {}
        self._threads: dict[str, ThreadPoolExecutor] = {}
        self._room = most_bytes

    def join(self, table: str, region: str, batch: str, sha256: str, at: datetime) -> Future[Receipt] | None:
        """The receipt of a batch that waits already; None where none of that name and content does.

        Raises
        ------
        NotReady
            If nothing more can wait at the moment.
        """
        with self._lock:
            stored = self._join((table, region, batch, sha256), at)
            if stored is None and self._room <= 0:
                raise _no_room(table)
            return stored

    def put(self, arrival: Arrival, *, after: Future[Receipt] | None = None) -> Future[Receipt]:
        """Let a batch be stored; its receipt comes when it is, or why it could not be.

        Where what came `after` could not be stored for a reason that passes, this one is not either, for the same.

        Raises
        ------
        NotReady
            If there is no room for it at the moment.
        """
        name, content = arrival.table, _content(arrival)
        with self._lock:
            if (stored := self._join(content, arrival.at)) is not None:
                return stored
            if arrival.size > self._room and self._by_content:
                raise _no_room(name)
            self._room -= arrival.size
            stored = Future()
            waiting = Waiting(arrival, [(stored, arrival.at)], after)
            self._by_content[content] = waiting
            if name not in self._threads:
                self._threads[name] = ThreadPoolExecutor(1, thread_name_prefix=f"store-{name}")
            self._waiting[name].append(waiting)
            self._threads[name].submit(self._store_next, name)
        return stored

    def _join(self, content: tuple[str, ...], at: datetime) -> Future[Receipt] | None:
        waiting = self._by_content.get(content)
        if waiting is None:
            return None
        stored: Future[Receipt] = Future()
        waiting.senders.append((stored, at))
        return stored

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
            first = [one.arrival for one in islice(waiting, MOST_BATCHES)]
        group = [waiting.popleft() for _ in range(_count_together(first))]  # only this thread takes from them
        with self._lock:  # from now on who sends one of them again waits anew, and finds it stored
            for one in group:
                del self._by_content[_content(one.arrival)]
        try:
            if group:
                self._store_group(name, group)
        finally:
            with self._lock:
                self._room += sum(one.arrival.size for one in group)

    def _store_group(self, name: str, group: Sequence[Waiting]) -> None:
        """Store batches in one commit; where that fails for good, each in its own, so that only the guilty ones fail."""
        for one in group:
            if (why := one.held_up()) is not None:
                one.tell(why)
        group = [one for one in group if one.held_up() is None]
        if not group:
            return
        first = group[0].arrival
        try:
            table = self._lake.open(name, key=first.key, step_s=first.step_s)
            written, outcomes = _store(group, table, self._registry)
        except BaseException as error:  # noqa: BLE001 - whoever waits for the receipt is told
            if len(group) > 1 and not isinstance(error, PASSING):
                for one in group:
                    self._store_group(name, [one])
                return
            for one in group:
                one.tell(error)
            return
        for one, outcome in zip(group, outcomes, strict=True):
            one.tell(outcome)
        if written is not None and written.version > 0 and written.version % COMPACT_EVERY == 0:
            _compact(table)


def _content(arrival: Arrival) -> tuple[str, ...]:
    """By which a batch that comes again is known, while it waits."""
    return arrival.table, arrival.region, arrival.batch, arrival.sha256


def _no_room(table: str) -> NotReady:
    return NotReady("too many batches wait to be stored", where=f"table {table}", do="send the batch again later")


def catch_up(registry: Registry, table: Table, lake_id: str, version: int) -> None:
    """Index what commits hold and the database does not: a process was killed in between, or is about to do it itself."""
    indexed = registry.indexed_batches(table.name)
    since = indexed[1] if indexed is not None and indexed[0] == lake_id else -1
    if since >= version:
        return
    receipts = [receipt for parcels in table.parcels_after(since) for receipt in _receipts(table.name, parcels)]
    if receipts:
        registry.enter_batches(table.name, lake_id, receipts)


def _count_together(arrivals: Sequence[Arrival]) -> int:
    """How many of the first can be stored in one commit: no batch twice, and no two rows of one key."""
    names: set[tuple[str, str]] = set()
    keys: set[int] = set()
    count = rows = 0
    try:
        for following in arrivals:
            rows += following.rows.height
            new = following.keys.to_list()
            if count and (rows > MOST_ROWS or following.name in names or not keys.isdisjoint(new)):
                break
            names.add(following.name)
            keys.update(new)
            count += 1
    except Exception:  # too little memory to compare them: the first goes alone
        LOG.exception("batches could not be put together")
    return max(count, min(1, len(arrivals)))


def _store(
    waiting: Sequence[Waiting], table: Table, registry: Registry
) -> tuple[Parcels | None, list[Receipt | Conflict]]:
    """Commit the batches that are new, then index them; of all, what came of it.

    A kill between the two loses nothing: the index is brought up to the commits before anything is compared with it.
    """
    group = [one.arrival for one in waiting]
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
        replace(outcome, at=at)
        for one, outcome in zip(waiting, outcomes, strict=True)
        if isinstance(outcome, Receipt)
        for _, at in one.senders[0 if outcome.repeated else 1 :]
    ]
    registry.enter_batches(
        table.name, str(lake_id if written is None else written.lake_id), list(fresh.values()), again=again
    )
    for one, outcome in zip(waiting, outcomes, strict=True):
        if isinstance(outcome, Conflict):
            for _, at in one.senders:
                count_conflict(registry, table.name, one.arrival.name, outcome, at, keep=one.arrival.keep_rejected)
    return written, outcomes


def count_conflict(
    registry: Registry, table: str, name: tuple[str, str], conflict: Conflict, at: datetime, *, keep: int
) -> None:
    """Count a batch that was refused because its name has been taken: it has come, if in vain."""
    registry.refuse_batch(table, RejectedRow(*name, None, at, conflict.what), keep=keep)


def _outcome(
    sent: Arrival, fresh: Mapping[tuple[str, str], Receipt], known: Mapping[tuple[str, str], Receipt]
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
    except Exception:
        LOG.exception("table %s could not be compacted", table.name)
