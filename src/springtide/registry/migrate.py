"""Bring the database to the shape that this code needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import inspect, text

from springtide.domain.errors import Conflict
from springtide.registry.database import open_database, reading, writing
from springtide.registry.schema import HEAD, REVISION_TABLE

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["migrate"]


def migrate(url: str) -> None:
    """Apply the migrations that are missing; when none is, cost two queries and no import of Alembic.

    Safe when several processes start at once: they take turns, and the later ones find nothing to do.

    Raises
    ------
    Conflict
        If a newer Springtide has already changed the database.
    """
    engine = open_database(url)
    try:
        with reading(engine) as connection:
            if _revision(connection) == HEAD:
                return
        with writing(engine) as connection:
            revision = _revision(connection)  # again: another process may have been quicker
            if revision != HEAD:
                _upgrade(connection, revision)
    finally:
        engine.dispose()


def _revision(connection: Connection) -> str | None:
    """The newest migration that the database has seen."""
    if not inspect(connection).has_table(REVISION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {REVISION_TABLE}")).scalar()  # noqa: S608 - a constant


def _upgrade(connection: Connection, revision: str | None) -> None:
    """Run the missing migrations in the caller's transaction: all of them or none."""
    from springtide.registry import upgrade  # noqa: PLC0415 - Alembic would double the time of every start

    if not upgrade.knows(revision):
        raise Conflict(
            f"the database is at revision {revision!r}, this code knows none later than {HEAD!r}",
            where=f"table {REVISION_TABLE}",
            do="update Springtide: a newer version has used this database",
        )
    upgrade.run(connection)
