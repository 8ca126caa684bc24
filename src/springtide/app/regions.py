"""Rows that many senders send into one table: each batch counts once, and what came from whom can be seen."""

from __future__ import annotations

import re
from concurrent.futures import Future
from dataclasses import asdict, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from springtide.app.intake import Arrival, catch_up, check_same, count_conflict
from springtide.domain.errors import BadRows, NotFound, SpringtideError, TooLarge, did_you_mean
from springtide.domain.regions import Receipt, RegionFacts, RejectedRow, check_batch, check_region, name_of_content
from springtide.domain.rows import KEY
from springtide.domain.units import format_span
from springtide.settings.words import RowsSource
from springtide.sources.sent.batch import read_sent
from springtide.sources.sent.cells import kind_of, their_columns

if TYPE_CHECKING:
    from datetime import datetime

    from springtide.app.home import Home
    from springtide.sources.sent.cells import Form

__all__ = ["accept", "hand_in", "known_batch", "region_facts", "rejected_rows", "taking", "too_large"]

MOST_REASON = 1_000  # characters


def accept(
    home: Home, table: str, *, region: str, batch: str | None, data: bytes, form: Form, now: datetime
) -> Receipt:
    """Take one batch of rows, and wait until it is stored; sent again, whoever was killed when, it counts once.

    Parameters
    ----------
    home
        Settings, tables and registry.
    table
        The table, which has a source of ``kind = "rows"``.
    region
        Who sends.
    batch
        The name that the sender gives the batch; the hash of its content when None.
    data, form
        The rows, and how they are written.
    now
        When it arrived.

    Raises
    ------
    NotFound
        No rows are taken for that table, or from that region.
    BadRows
        The batch cannot be read, or too many of its rows are faulty; nothing was taken.
    Conflict
        A batch of that name has been taken, with other content.
    TooLarge
        More bytes or rows than a batch may have.
    NotReady
        Too much waits to be stored, or the database is away: the batch may come again later.
    """
    return hand_in(home, table, region=region, batch=batch, data=data, form=form, now=now).result()


def hand_in(
    home: Home,
    table: str,
    *,
    region: str,
    batch: str | None,
    data: bytes,
    form: Form,
    now: datetime,
    after: Future[Receipt] | None = None,
) -> Future[Receipt]:
    """Read and check one batch, as `accept` does, and let it be stored with those that arrive at the same time.

    It is stored no earlier than what came `after`: where that will come again, so will this.
    """
    source = taking(home, table, region)
    digest = sha256(data).hexdigest()
    name = check_batch(name_of_content(data) if batch is None else batch)
    where = f"table {table}, region {region}, batch {name}"
    if len(data) > source.max_body:
        raise too_large(source, table)
    if (waiting := home.intake.join(table, region, name, digest, now)) is not None:
        return waiting
    try:
        sent = read_sent(data, source, form=form, region=region, now=now, where=where)
    except TooLarge as error:
        return _refuse(home, source, table, (region, name), digest, error, now)
    except BadRows as error:
        told = BadRows(error.what, where=error.where, do=f"{error.do}; {_expected(source)}")
        return _refuse(home, source, table, (region, name), digest, told, now)
    rejected = tuple(RejectedRow(region, name, one.row, now, one.reason, one.cells) for one in sent.faulty)
    return home.intake.put(
        Arrival(
            table=table,
            key=(*KEY, *source.key),
            step_s=source.step_s,
            region=region,
            batch=name,
            sha256=digest,
            at=now,
            count=sent.count,
            rows=sent.rows,
            rejected=rejected,
            keep_rejected=source.keep_rejected,
        ),
        after=after,
    )


def known_batch(
    home: Home, table: str, name: tuple[str, str], sha256: str, *, now: datetime, keep_rejected: int
) -> Future[Receipt] | None:
    """What is said to a batch whose region and name have been taken before, counted; None where they have not."""
    if table not in home.lake.names():
        return None
    stored = home.lake.table(table)
    lake_id, version = stored.identity()
    catch_up(home.registry, stored, lake_id, version)
    known = home.registry.find_batches(table, lake_id, [name]).get(name)
    if known is None:
        return None
    outcome = check_same(known, sha256)
    answer: Future[Receipt] = Future()
    if isinstance(outcome, Receipt):
        home.registry.enter_batches(table, lake_id, [], again=[replace(outcome, at=now)])
        answer.set_result(outcome)
    else:
        count_conflict(home.registry, table, name, outcome, now, keep=keep_rejected)
        answer.set_exception(outcome)
    return answer


def taking(home: Home, table: str, region: str | None = None) -> RowsSource:
    """The source that takes rows for a table, from that region."""
    source = home.settings.rows_source(table)
    if source is None:
        known = [one.table or name for name, one in home.settings.sources.items() if isinstance(one, RowsSource)]
        raise NotFound(
            f"no rows are taken for table {table!r}",
            where="springtide.toml",
            do=f'add a source of kind = "rows" for it; {did_you_mean(table, known)}',
        )
    if region is not None:
        check_region(region)
        if source.regions and region not in source.regions:
            raise NotFound(
                f"no rows are taken from region {region!r}",
                where=f"table {table}",
                do=f"add it to the source's regions; {did_you_mean(region, source.regions)}"[:500],
            )
    return source


def _expected(source: RowsSource) -> str:
    """The columns that the senders of a table write, and what each holds."""
    columns = their_columns(source).items()
    return f"a row has the columns {', '.join(f'{their} ({kind_of(name, source)})' for name, their in columns)}"[:500]


def too_large(source: RowsSource, table: str) -> TooLarge:
    """What is said of a batch that has more bytes than `max_body`."""
    return TooLarge(
        f"the batch is larger than {source.max_body:,} bytes",
        where=f"table {table}",
        do="send it in several batches, or let max_body of the source be larger",
    )


def _refuse(
    home: Home,
    source: RowsSource,
    table: str,
    name: tuple[str, str],
    digest: str,
    error: SpringtideError,
    now: datetime,
) -> Future[Receipt]:
    """A batch that cannot be read now, but was taken before (the settings have changed since), is a repetition."""
    known = known_batch(home, table, name, digest, now=now, keep_rejected=source.keep_rejected)
    if known is not None:
        return known
    reason = re.sub(r"[\x00-\x1f\x7f]", " ", error.what)[:MOST_REASON]  # it may repeat what was sent
    refused = RejectedRow(*name, None, now, reason)
    home.registry.refuse_batch(table, refused, keep=source.keep_rejected)
    raise error


def region_facts(home: Home, table: str) -> dict[str, Any]:
    """What has come from each region of a table, also from those that are waited for and have sent nothing."""
    source = taking(home, table)
    reports = None
    if table in home.lake.names():
        stored = home.lake.table(table)
        identity = stored.identity()
        catch_up(home.registry, stored, *identity)
        if source.period is not None:
            reports = home.reports.of(stored, identity, source.period, source.full)
    known = {one.region: one for one in home.registry.regions(table)}
    names = dict.fromkeys((*source.regions, *known))
    newest = {} if reports is None else reports.newest()
    facts = [asdict(known.get(name, RegionFacts(name))) for name in names]
    for one in facts:
        one["reported"] = newest.get(one["region"])
    return {
        "table": table,
        "expected": len(source.regions),
        "period": None if source.period is None else format_span(source.period),
        "full": source.full,
        "complete": None if reports is None else reports.complete(source.regions),
        "waiting_for": [] if reports is None else reports.missing(source.regions),
        "regions": facts,
    }


def rejected_rows(home: Home, table: str, *, region: str | None = None, limit: int = 100) -> list[RejectedRow]:
    """The newest rows that were not taken, and why; a batch that was refused as a whole has no row."""
    taking(home, table)
    return home.registry.rejected_rows(table, region, limit)
