"""Batches of rows that regions have sent: an index of the lake's commits, counts of each region, rejected rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select, tuple_, update

from springtide.domain.regions import Receipt, RegionFacts, RejectedRow
from springtide.registry.schema import BATCHES, REGIONS, REJECTED_ROWS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from sqlalchemy import Connection, Row

__all__ = ["enter", "find", "indexed", "refuse", "regions", "reject", "rejected", "repeat"]

COUNTS = ("batches", "repeated", "refused", "rows", "corrected", "unchanged", "rejected")
COUNTED_AT_ONCE = 500  # names in one query; databases limit its variables


def indexed(connection: Connection, table: str) -> tuple[str, int] | None:
    """Which table of the lake the index is of, and until which version it is complete; None where it is empty."""
    newest = select(BATCHES.c.lake_id, BATCHES.c.version).where(BATCHES.c.lake_table == table)
    row = connection.execute(newest.order_by(BATCHES.c.version.desc()).limit(1)).first()
    return None if row is None else (row.lake_id, row.version)


def find(
    connection: Connection, table: str, lake_id: str, names: Collection[tuple[str, str]]
) -> dict[tuple[str, str], Receipt]:
    """The receipts of those batches (region, name) that are in the table."""
    listed, found = list(names), {}
    for start in range(0, len(listed), COUNTED_AT_ONCE):
        some = listed[start : start + COUNTED_AT_ONCE]
        rows = select(BATCHES).where(
            BATCHES.c.lake_table == table,
            BATCHES.c.lake_id == lake_id,
            tuple_(BATCHES.c.region, BATCHES.c.batch).in_(some),
            # SQLite takes no index for pairs: without these it would read all batches of the table.
            BATCHES.c.region.in_({region for region, _ in some}),
            BATCHES.c.batch.in_({batch for _, batch in some}),
        )
        found.update({(row.region, row.batch): _receipt(row) for row in connection.execute(rows)})
    return found


def enter(connection: Connection, table: str, lake_id: str, receipts: Sequence[Receipt]) -> None:
    """Add batches that a commit holds, oldest first, with the counts of their regions; those that are there stay."""
    known = indexed(connection, table)
    if known is not None and known[0] != lake_id:  # the table was made anew
        connection.execute(delete(BATCHES).where(BATCHES.c.lake_table == table))
        connection.execute(delete(REGIONS).where(REGIONS.c.lake_table == table))
    there = find(connection, table, lake_id, [(one.region, one.batch) for one in receipts])
    new = [one for one in receipts if (one.region, one.batch) not in there]
    if not new:
        return
    connection.execute(insert(BATCHES), [_line(one, lake_id) for one in new])
    by_region: dict[str, list[Receipt]] = defaultdict(list)
    for one in new:
        by_region[one.region].append(one)
    _count(connection, table, {region: _facts(region, some) for region, some in by_region.items()}.values())


def repeat(connection: Connection, table: str, again: Sequence[Receipt]) -> None:
    """Count batches that have come again; `at` is when."""
    times = Counter(one.region for one in again)
    newest = {one.region: one.at for one in sorted(again, key=lambda one: one.at)}
    _count(connection, table, [RegionFacts(one, repeated=times[one], arrived=newest[one]) for one in times])


def refuse(connection: Connection, table: str, row: RejectedRow, *, keep: int) -> None:
    """Count a batch that was not taken at all, and keep the reason."""
    _count(connection, table, [RegionFacts(row.region, refused=1, arrived=row.at)])
    reject(connection, table, [row], keep=keep)


def reject(connection: Connection, table: str, rows: Sequence[RejectedRow], *, keep: int) -> None:
    """Keep rows that were not taken, in place of what was kept of their batches; of each region about the newest `keep`.

    That a whole batch was refused takes the place of the same alone: a batch that was taken may come again with other
    content, and its own bad rows stay.
    """
    by_batch: dict[tuple[str, str], list[RejectedRow]] = defaultdict(list)
    for row in rows:
        by_batch[row.region, row.batch].append(row)
    for (region, batch), some in by_batch.items():
        of_region = (REJECTED_ROWS.c.lake_table == table) & (REJECTED_ROWS.c.region == region)
        before = of_region & (REJECTED_ROWS.c.batch == batch)
        if all(row.row is None for row in some):
            before &= REJECTED_ROWS.c.row == 0
        connection.execute(delete(REJECTED_ROWS).where(before))
        lines = [
            {
                "lake_table": table,
                "region": region,
                "batch": batch,
                "row": row.row or 0,
                "at": row.at,
                "reason": row.reason,
                "cells": row.cells,
            }
            for row in some[:keep]
        ]
        if lines:
            connection.execute(insert(REJECTED_ROWS), lines)
        newest = select(REJECTED_ROWS.c.at).where(of_region).order_by(REJECTED_ROWS.c.at.desc())
        oldest_kept = connection.scalar(newest.offset(max(0, keep - 1)).limit(1))
        if oldest_kept is not None:
            connection.execute(delete(REJECTED_ROWS).where(of_region, REJECTED_ROWS.c.at < oldest_kept))


def regions(connection: Connection, table: str) -> list[RegionFacts]:
    """What has come from each region, by name."""
    rows = select(REGIONS).where(REGIONS.c.lake_table == table).order_by(REGIONS.c.region)
    return [
        RegionFacts(row.region, **{name: getattr(row, name) for name in COUNTS}, arrived=row.arrived, newest=row.newest)
        for row in connection.execute(rows)
    ]


def rejected(connection: Connection, table: str, region: str | None, limit: int) -> list[RejectedRow]:
    """The newest rows that were not taken, of one region or of all."""
    rows = select(REJECTED_ROWS).where(REJECTED_ROWS.c.lake_table == table)
    if region is not None:
        rows = rows.where(REJECTED_ROWS.c.region == region)
    newest = rows.order_by(
        REJECTED_ROWS.c.at.desc(), REJECTED_ROWS.c.region, REJECTED_ROWS.c.batch, REJECTED_ROWS.c.row
    )
    return [
        RejectedRow(row.region, row.batch, row.row or None, row.at, row.reason, row.cells)
        for row in connection.execute(newest.limit(limit))
    ]


def _count(connection: Connection, table: str, more: Iterable[RegionFacts]) -> None:
    """Add to what is counted of regions."""
    facts = {one.region: one for one in more}
    this_table = REGIONS.c.lake_table == table
    stored = select(REGIONS.c.region, REGIONS.c.arrived, REGIONS.c.newest).where(this_table)
    known = {row.region: row for row in connection.execute(stored.where(REGIONS.c.region.in_(facts)))}
    for region, one in facts.items():
        counts = {name: getattr(one, name) for name in COUNTS}
        if region not in known:
            values = counts | {"arrived": one.arrived, "newest": one.newest}
            connection.execute(insert(REGIONS).values(lake_table=table, region=region, **values))
            continue
        row = known[region]
        changed: dict[str, Any] = {name: REGIONS.c[name] + count for name, count in counts.items() if count}
        changed |= {"arrived": _latest(row.arrived, one.arrived), "newest": _latest(row.newest, one.newest)}
        connection.execute(update(REGIONS).where(this_table, REGIONS.c.region == region).values(changed))


def _latest(*times: Any) -> Any:
    return max((one for one in times if one is not None), default=None)


def _facts(region: str, some: Sequence[Receipt]) -> RegionFacts:
    return RegionFacts(
        region,
        batches=len(some),
        rows=sum(one.new for one in some),
        corrected=sum(one.corrected for one in some),
        unchanged=sum(one.unchanged for one in some),
        rejected=sum(one.rejected for one in some),
        arrived=max(one.at for one in some),
        newest=max(one.last for one in some),
    )


_SAME = (
    "region",
    "batch",
    "version",
    "sha256",
    "at",
    "rows",
    "new",
    "corrected",
    "unchanged",
    "rejected",
    "first",
    "last",
)


def _line(receipt: Receipt, lake_id: str) -> Mapping[str, Any]:
    return {name: getattr(receipt, name) for name in _SAME} | {"lake_table": receipt.table, "lake_id": lake_id}


def _receipt(row: Row[Any]) -> Receipt:
    return Receipt(table=row.lake_table, **{name: getattr(row, name) for name in _SAME})
