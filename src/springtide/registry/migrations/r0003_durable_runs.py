"""What keeps runs going when processes die: who works, what waits, what was told, what was found."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

UTC = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "springtide_workers",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("process", sa.String, nullable=False),
        sa.Column("code", sa.String, nullable=False),
        sa.Column("started", UTC, nullable=False),
        sa.Column("beat", UTC, nullable=False),
    )
    op.create_table(
        "springtide_leases",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("holder", sa.String, nullable=False),
        sa.Column("until", UTC, nullable=False),
    )
    op.create_table(
        "springtide_active",
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("run", sa.String, nullable=False),
    )
    op.create_table(
        "springtide_events",
        sa.Column("run", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("at", UTC, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "springtide_triggers",
        sa.Column("subject", sa.String, primary_key=True),
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("at", UTC, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
    )
    op.create_table(
        "springtide_outbox",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("target", sa.String, primary_key=True),
        sa.Column("created", UTC, nullable=False),
        sa.Column("due", UTC, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("failure", sa.Text),
        sa.CheckConstraint("state in ('waiting', 'delivered', 'given up')", name="springtide_outbox_state"),
        sa.Index("springtide_outbox_by_due", "state", "due"),
    )
    op.create_table("springtide_stores", sa.Column("name", sa.String, primary_key=True))
    op.create_table(
        "springtide_recipes",
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("found", UTC, nullable=False),
        sa.Column("recipe", sa.Text, nullable=False),
        sa.Column("facts", sa.Text, nullable=False),
    )
