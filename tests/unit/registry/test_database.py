"""Opening a database: settings refused by name, failures explained, passwords never shown."""

from __future__ import annotations

import sqlite3
import traceback
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from springtide.domain.errors import NotReady, SettingsError, SpringtideError, StoreFailed
from springtide.registry.database import open_database, reading, writing
from springtide.registry.migrate import migrate

if TYPE_CHECKING:
    from pathlib import Path


def shown(error: BaseException) -> str:
    """All that a log could show of an error."""
    return "".join(traceback.format_exception(error)) + repr(error)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://ann:hunter2@host/db",
        "postgresql://ann:hunter2@host:hunter2/db",
        "hunter2",
        "sqlite://",
        "sqlite:///:memory:",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        open_database(url)
    assert "section [home]" in refused.value.where
    assert "hunter2" not in shown(refused.value)


def test_a_server_that_does_not_answer_is_not_ready_and_its_password_is_not_shown() -> None:
    engine = open_database("postgresql://ann:hunter2@127.0.0.1:9/db")
    with pytest.raises(NotReady, match="does not answer") as failed, reading(engine):
        pass
    assert "postgresql+psycopg://ann:***@127.0.0.1:9/db" in failed.value.where
    assert "hunter2" not in shown(failed.value)
    assert "hunter2" not in repr(engine)


def test_the_folder_of_a_new_database_is_made(tmp_path: Path) -> None:
    migrate(f"sqlite:///{tmp_path}/a/b/springtide.db")
    assert (tmp_path / "a" / "b" / "springtide.db").is_file()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "var").write_bytes(b"")
    with pytest.raises(StoreFailed, match="folder of the database cannot be made"):
        open_database(f"sqlite:///{tmp_path}/var/springtide.db")


def test_a_file_that_is_no_database_is_a_failed_store(tmp_path: Path) -> None:
    (tmp_path / "springtide.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreFailed, match="file is not a database"):
        migrate(f"sqlite:///{tmp_path}/springtide.db")


def test_a_database_that_was_never_migrated_is_not_ready(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/springtide.db")
    with pytest.raises(NotReady, match="no tables yet"), reading(engine) as connection:
        connection.execute(text("SELECT * FROM springtide_runs"))
    engine.dispose()


def test_a_database_that_another_process_holds_is_not_ready(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/springtide.db", patience_s=0.1)
    with reading(engine):
        holder = sqlite3.connect(tmp_path / "springtide.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(NotReady, match="another process holds the database"), writing(engine):
        pass
    with reading(engine) as connection:  # readers are not held up
        assert connection.scalar(text("SELECT 1")) == 1
    holder.close()
    engine.dispose()


def test_an_error_of_ours_leaves_a_transaction_unchanged_and_undoes_what_it_wrote(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/springtide.db")
    with writing(engine) as connection:
        connection.execute(text("CREATE TABLE t (x)"))
    mine = SpringtideError("no", where="here", do="nothing")

    def write_and_fail() -> None:
        with writing(engine) as connection:
            connection.execute(text("INSERT INTO t VALUES (1)"))
            raise mine

    with pytest.raises(SpringtideError) as raised:
        write_and_fail()
    assert raised.value is mine
    with reading(engine) as connection:
        assert connection.scalar(text("SELECT count(*) FROM t")) == 0
    engine.dispose()


def test_sqlite_keeps_foreign_keys_and_puts_every_commit_on_the_disk(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/springtide.db")
    with reading(engine) as connection:
        pragmas = [connection.scalar(text(f"PRAGMA {p}")) for p in ("journal_mode", "foreign_keys", "synchronous")]
    assert pragmas == ["wal", 1, 2]
    engine.dispose()
