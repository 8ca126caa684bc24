"""Rows that many senders send into one table: batches, regions, rejected rows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

UTC = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "springtide_batches",
        sa.Column("lake_table", sa.String, primary_key=True),
        sa.Column("region", sa.String, primary_key=True),
        sa.Column("batch", sa.String, primary_key=True),
        sa.Column("lake_id", sa.String, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("at", UTC, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("new", sa.BigInteger, nullable=False),
        sa.Column("corrected", sa.BigInteger, nullable=False),
        sa.Column("unchanged", sa.BigInteger, nullable=False),
        sa.Column("rejected", sa.BigInteger, nullable=False),
        sa.Column("first", UTC, nullable=False),
        sa.Column("last", UTC, nullable=False),
        sa.Index("springtide_batches_by_version", "lake_table", "version"),
    )
    op.create_table(
        "springtide_regions",
        sa.Column("lake_table", sa.String, primary_key=True),
        sa.Column("region", sa.String, primary_key=True),
        sa.Column("batches", sa.BigInteger, nullable=False),
        sa.Column("repeated", sa.BigInteger, nullable=False),
        sa.Column("refused", sa.BigInteger, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("corrected", sa.BigInteger, nullable=False),
        sa.Column("unchanged", sa.BigInteger, nullable=False),
        sa.Column("rejected", sa.BigInteger, nullable=False),
        sa.Column("arrived", UTC, nullable=False),
        sa.Column("newest", UTC),
    )
    op.create_table(
        "springtide_rejected_rows",
        sa.Column("lake_table", sa.String, primary_key=True),
        sa.Column("region", sa.String, primary_key=True),
        sa.Column("batch", sa.String, primary_key=True),
        sa.Column("row", sa.BigInteger, primary_key=True),
        sa.Column("at", UTC, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("cells", sa.Text, nullable=False),
        sa.Index("springtide_rejected_rows_by_time", "lake_table", "region", "at"),
    )
