"""Jobs: data and models that were sent to be retrained; the turn of each event on its way to a stream."""

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
    op.add_column("springtide_outbox", sa.Column("turn", sa.BigInteger, nullable=False, server_default="0"))
    op.create_index("springtide_outbox_by_turn", "springtide_outbox", ["turn"])
