"""Versions, champions, journal, runs and retention; journal and versions append-only by trigger."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

APPEND_ONLY = ("springtide_versions", "springtide_journal")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _create_versions()
    _create_journal()
    _create_runs()
    forbid = _forbid_on_postgresql if op.get_bind().dialect.name == "postgresql" else _forbid_on_sqlite
    for table in APPEND_ONLY:
        forbid(table)


def _create_versions() -> None:
    op.create_table(
        "springtide_versions",
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("run", sa.String, nullable=False),
        sa.Column("created", TIME, nullable=False),
        sa.Column("lake_table", sa.String, nullable=False),
        sa.Column("lake_version", sa.BigInteger, nullable=False),
        sa.Column("manifest", sa.Text, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.UniqueConstraint("run", name="springtide_versions_one_per_run"),
        sa.CheckConstraint("number >= 1", name="springtide_versions_from_one"),
    )
    op.create_table(
        "springtide_champions",
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(["model", "number"], ["springtide_versions.model", "springtide_versions.number"]),
    )
    op.create_table(
        "springtide_retired",
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("files_removed", sa.Boolean, nullable=False),
        sa.ForeignKeyConstraint(["model", "number"], ["springtide_versions.model", "springtide_versions.number"]),
    )


def _create_journal() -> None:
    op.create_table(
        "springtide_journal",
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("at", TIME, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("previous", sa.Integer),
        sa.Column("serving", sa.Integer),
        sa.Column("run", sa.String),
        sa.Column("by", sa.String, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("warning", sa.Text),
        sa.ForeignKeyConstraint(["model", "version"], ["springtide_versions.model", "springtide_versions.number"]),
        sa.CheckConstraint("number >= 1", name="springtide_journal_from_one"),
        sa.CheckConstraint("action in ('promote', 'keep', 'rollback')", name="springtide_journal_action"),
    )
    once = sa.text("run IS NOT NULL")
    op.create_index(
        "springtide_journal_once_per_run",
        "springtide_journal",
        ["model", "run", "action", "version"],
        unique=True,
        postgresql_where=once,
        sqlite_where=once,
    )


def _create_runs() -> None:
    op.create_table(
        "springtide_runs",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("started", TIME, nullable=False),
        sa.Column("lake_table", sa.String),
        sa.Column("lake_version", sa.BigInteger),
        sa.Column("run", sa.Text, nullable=False),
    )
    op.create_index("springtide_runs_by_model", "springtide_runs", ["model", "started"])
    op.create_index("springtide_runs_by_start", "springtide_runs", ["started"])


def _forbid_on_sqlite(table: str) -> None:
    for event in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{event.lower()} BEFORE {event} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )
    # INSERT OR REPLACE deletes without firing the DELETE trigger, so an insert over a row is refused by itself.
    op.execute(
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "  # noqa: S608 - our own table names
        f"WHEN EXISTS (SELECT 1 FROM {table} WHERE model = NEW.model AND number = NEW.number) "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    )


def _forbid_on_postgresql(table: str) -> None:
    op.execute(
        "CREATE OR REPLACE FUNCTION springtide_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN RAISE EXCEPTION USING MESSAGE = TG_TABLE_NAME || ' is append-only'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_rows BEFORE UPDATE OR DELETE ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION springtide_append_only()"
    )
    op.execute(
        f"CREATE TRIGGER {table}_all BEFORE TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION springtide_append_only()"
    )
