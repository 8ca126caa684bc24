"""Jobs: data and models that were sent to be retrained."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "springtide_jobs",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("key", sa.String, unique=True),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("job", sa.Text, nullable=False),
    )
