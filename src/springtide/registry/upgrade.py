"""Alembic, driven without an environment script: the migrations of this package on a connection that is already open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import ScriptDirectory

from springtide.registry.schema import REVISION_TABLE

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["context", "knows", "newest", "run"]

FOLDER = Path(__file__).parent / "migrations"


def newest() -> str | None:
    """The revision of the newest migration."""
    return _scripts().get_current_head()


def knows(revision: str | None) -> bool:
    """Whether the migrations here lead on from `revision` (None: an empty database)."""
    return revision is None or revision in {script.revision for script in _scripts().walk_revisions()}


def context(connection: Connection, **options: Any) -> MigrationContext:
    """Alembic's view of a database of ours."""
    return MigrationContext.configure(connection, opts={"version_table": REVISION_TABLE, **options})


def run(connection: Connection) -> None:
    """Apply every missing migration in the transaction of `connection`."""
    scripts = _scripts()

    def steps(revisions: tuple[str, ...], _context: MigrationContext) -> list[MigrationStep]:
        missing = list(scripts.iterate_revisions("head", revisions or "base"))
        return [MigrationStep.upgrade_from_script(scripts.revision_map, script) for script in reversed(missing)]

    upgrading = context(connection, fn=steps)
    with Operations.context(upgrading):
        upgrading.run_migrations()


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(FOLDER, version_locations=[FOLDER])
