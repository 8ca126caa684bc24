"""The tables of the registry, as the newest migration leaves them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

if TYPE_CHECKING:
    from sqlalchemy import Dialect

__all__ = [
    "ACTIVE",
    "BATCHES",
    "CALLS",
    "CHAMPIONS",
    "EVENTS",
    "HEAD",
    "JOBS",
    "JOURNAL",
    "LEASES",
    "METADATA",
    "OUTBOX",
    "RECIPES",
    "REGIONS",
    "REJECTED_ROWS",
    "RETIRED",
    "REVISION_TABLE",
    "RUNS",
    "STORES",
    "TRIGGERS",
    "VERSIONS",
    "WORKERS",
]

HEAD = "0005"  # the newest file in migrations/; a test holds the two together
REVISION_TABLE = "springtide_revision"
METADATA = MetaData()


class Utc(TypeDecorator[datetime]):
    """A point in time: aware going in, UTC coming out, equal on both databases to the microsecond."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive time: it could mean any hour of the day."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without a time zone cannot be stored: {value.isoformat()}")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """SQLite gives back naive UTC, PostgreSQL the time zone of its session."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _version_of(column: str) -> ForeignKeyConstraint:
    """The rows of a table are about a version that exists."""
    return ForeignKeyConstraint(["model", column], ["springtide_versions.model", "springtide_versions.number"])


VERSIONS = Table(
    "springtide_versions",
    METADATA,
    Column("model", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("run", String, nullable=False),
    Column("created", Utc, nullable=False),
    Column("lake_table", String, nullable=False),
    Column("lake_version", BigInteger, nullable=False),
    Column("manifest", Text, nullable=False),  # JSON
    Column("verdict", Text, nullable=False),  # JSON
    UniqueConstraint("run", name="springtide_versions_one_per_run"),
    CheckConstraint("number >= 1", name="springtide_versions_from_one"),
)

CHAMPIONS = Table(
    "springtide_champions",
    METADATA,
    Column("model", String, primary_key=True),
    Column("number", Integer, nullable=False),
    _version_of("number"),
)

RETIRED = Table(  # versions whose files retention took away, or is about to
    "springtide_retired",
    METADATA,
    Column("model", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("files_removed", Boolean, nullable=False),
    _version_of("number"),
)

JOURNAL = Table(
    "springtide_journal",
    METADATA,
    Column("model", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("at", Utc, nullable=False),
    Column("action", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("previous", Integer),
    Column("serving", Integer),
    Column("run", String),
    Column("by", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("warning", Text),
    _version_of("version"),
    CheckConstraint("number >= 1", name="springtide_journal_from_one"),
    CheckConstraint("action in ('promote', 'keep', 'rollback')", name="springtide_journal_action"),
    Index(
        "springtide_journal_once_per_run",
        "model",
        "run",
        "action",
        "version",
        unique=True,
        postgresql_where=text("run IS NOT NULL"),
        sqlite_where=text("run IS NOT NULL"),
    ),
)

RUNS = Table(
    "springtide_runs",
    METADATA,
    Column("id", String, primary_key=True),
    Column("model", String, nullable=False),
    Column("state", String, nullable=False),
    Column("started", Utc, nullable=False),
    Column("lake_table", String),
    Column("lake_version", BigInteger),
    Column("run", Text, nullable=False),  # JSON
    Index("springtide_runs_by_model", "model", "started"),
    Index("springtide_runs_by_start", "started"),
)

CALLS = Table(  # to services that allow so many a month or a day; a row is a period of one of them
    "springtide_calls",
    METADATA,
    Column("provider", String, primary_key=True),
    Column("period", String, primary_key=True),
    Column("calls", BigInteger, nullable=False),
    CheckConstraint("calls >= 1", name="springtide_calls_from_one"),
)

WORKERS = Table(  # processes that take runs off the queue, and when each last said that it lives
    "springtide_workers",
    METADATA,
    Column("id", String, primary_key=True),
    Column("process", String, nullable=False),
    Column("code", String, nullable=False),
    Column("started", Utc, nullable=False),
    Column("beat", Utc, nullable=False),
)

LEASES = Table(  # duties that one process has at a time
    "springtide_leases",
    METADATA,
    Column("name", String, primary_key=True),
    Column("holder", String, nullable=False),
    Column("until", Utc, nullable=False),
)

ACTIVE = Table(  # the run of a model that waits or runs: there is never a second one
    "springtide_active",
    METADATA,
    Column("model", String, primary_key=True),
    Column("run", String, nullable=False),
)

EVENTS = Table(  # what a run told while it went on: states, steps, progress, log lines
    "springtide_events",
    METADATA,
    Column("run", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("at", Utc, nullable=False),
    Column("kind", String, nullable=False),
    Column("body", Text, nullable=False),  # JSON
)

TRIGGERS = Table(  # what each trigger of a model (or each source) has seen so far
    "springtide_triggers",
    METADATA,
    Column("subject", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("at", Utc, nullable=False),
    Column("state", Text, nullable=False),  # JSON
)

OUTBOX = Table(  # notices and what came of them, one row for each place
    "springtide_outbox",
    METADATA,
    Column("id", String, primary_key=True),
    Column("target", String, primary_key=True),
    Column("created", Utc, nullable=False),
    Column("due", Utc, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("body", Text, nullable=False),  # JSON
    Column("failure", Text),
    Column("turn", BigInteger, nullable=False, server_default="0"),  # in which the stream gets it: as it was written
    CheckConstraint("state in ('waiting', 'delivered', 'given up')", name="springtide_outbox_state"),
    Index("springtide_outbox_by_due", "state", "due"),
    Index("springtide_outbox_by_turn", "turn"),
)

JOBS = Table(  # what was sent to be retrained, under the id of the run that does it
    "springtide_jobs",
    METADATA,
    Column("id", String, primary_key=True),
    Column("key", String, unique=True),
    Column("created", Utc, nullable=False),
    Column("job", Text, nullable=False),  # JSON
)

STORES = Table(  # the name of the one store that belongs to this database
    "springtide_stores",
    METADATA,
    Column("name", String, primary_key=True),
)

RECIPES = Table(  # what a search has found for a model
    "springtide_recipes",
    METADATA,
    Column("model", String, primary_key=True),
    Column("found", Utc, nullable=False),
    Column("recipe", Text, nullable=False),  # JSON
    Column("facts", Text, nullable=False),  # JSON
)

BATCHES = Table(  # batches of rows that are in the lake: an index of what the commits of its tables say
    "springtide_batches",
    METADATA,
    Column("lake_table", String, primary_key=True),
    Column("region", String, primary_key=True),
    Column("batch", String, primary_key=True),
    Column("lake_id", String, nullable=False),  # another one when the table was made anew
    Column("version", BigInteger, nullable=False),
    Column("sha256", String, nullable=False),
    Column("at", Utc, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("new", BigInteger, nullable=False),
    Column("corrected", BigInteger, nullable=False),
    Column("unchanged", BigInteger, nullable=False),
    Column("rejected", BigInteger, nullable=False),
    Column("first", Utc, nullable=False),
    Column("last", Utc, nullable=False),
    Index("springtide_batches_by_version", "lake_table", "version"),
)

REGIONS = Table(  # what has come from each region
    "springtide_regions",
    METADATA,
    Column("lake_table", String, primary_key=True),
    Column("region", String, primary_key=True),
    Column("batches", BigInteger, nullable=False),
    Column("repeated", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("corrected", BigInteger, nullable=False),
    Column("unchanged", BigInteger, nullable=False),
    Column("rejected", BigInteger, nullable=False),
    Column("arrived", Utc, nullable=False),
    Column("newest", Utc),
)

REJECTED_ROWS = Table(  # the newest rows of each region that were not taken, and why; row 0: a whole batch
    "springtide_rejected_rows",
    METADATA,
    Column("lake_table", String, primary_key=True),
    Column("region", String, primary_key=True),
    Column("batch", String, primary_key=True),
    Column("row", BigInteger, primary_key=True),
    Column("at", Utc, nullable=False),
    Column("reason", Text, nullable=False),
    Column("cells", Text, nullable=False),  # JSON
    Index("springtide_rejected_rows_by_time", "lake_table", "region", "at"),
)
