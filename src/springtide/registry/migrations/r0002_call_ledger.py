"""Calls to services that allow so many a month or a day, counted before each is sent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "springtide_calls",
        sa.Column("provider", sa.String, primary_key=True),
        sa.Column("period", sa.String, primary_key=True),
        sa.Column("calls", sa.BigInteger, nullable=False),
        sa.CheckConstraint("calls >= 1", name="springtide_calls_from_one"),
    )
