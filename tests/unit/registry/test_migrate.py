"""The migrations lead to the tables that the code knows, quickly when there is nothing to do."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from sqlalchemy import text

from springtide.domain.errors import Conflict
from springtide.registry import upgrade
from springtide.registry.database import open_database, reading, writing
from springtide.registry.migrate import migrate
from springtide.registry.schema import HEAD, METADATA

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def url(tmp_path: Path) -> str:
    made = f"sqlite:///{tmp_path}/springtide.db"
    migrate(made)
    return made


def test_the_head_that_the_code_names_is_the_newest_migration() -> None:
    assert upgrade.newest() == HEAD


def test_the_migrations_lead_to_the_tables_that_the_code_knows(url: str) -> None:
    engine = open_database(url)
    with reading(engine) as connection:
        assert compare_metadata(upgrade.context(connection), METADATA) == []
    engine.dispose()


def test_a_database_of_the_first_revision_gets_what_is_new_and_keeps_what_it_has(url: str) -> None:
    engine = open_database(url)
    with writing(engine) as connection:
        later = {"workers", "leases", "active", "events", "triggers", "outbox", "recipes", "stores", "calls", "jobs"}
        later |= {"batches", "regions", "rejected_rows"}
        for name in sorted(later):
            connection.execute(text(f"DROP TABLE springtide_{name}"))
        connection.execute(text("UPDATE springtide_revision SET version_num = '0001'"))
        connection.execute(text("INSERT INTO springtide_runs VALUES ('r', 'btc', 'done', 0, NULL, NULL, '{}')"))
    migrate(url)
    with reading(engine) as connection:
        assert compare_metadata(upgrade.context(connection), METADATA) == []
        assert connection.scalar(text("SELECT id FROM springtide_runs")) == "r"
    engine.dispose()


def test_migrating_again_changes_nothing(url: str, tmp_path: Path) -> None:
    before = (tmp_path / "springtide.db").read_bytes()
    migrate(url)
    assert (tmp_path / "springtide.db").read_bytes() == before


def test_a_start_with_nothing_to_migrate_does_not_import_alembic(url: str) -> None:
    code = (
        "import sys; from springtide.registry.migrate import migrate; migrate(sys.argv[1]); "
        "sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, url], check=False).returncode == 0


def test_a_database_that_a_newer_version_has_changed_is_left_alone(url: str) -> None:
    engine = open_database(url)
    with writing(engine) as connection:
        connection.execute(text("UPDATE springtide_revision SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(Conflict, match="the database is at revision '9999'"):
        migrate(url)
