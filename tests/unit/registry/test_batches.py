"""The index of batches: what a look into it costs does not grow with what it holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, insert

from springtide.domain.regions import Receipt
from springtide.registry import batches
from springtide.registry.database import open_database, reading, writing
from springtide.registry.migrate import migrate
from springtide.registry.schema import BATCHES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection, Engine

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
STEPS = 100  # of SQLite's machine, between two looks


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path}/springtide.db"
    migrate(url)
    engine = open_database(url)
    yield engine
    engine.dispose()


def receipt(at: int) -> Receipt:
    return Receipt(
        table="covid",
        region=f"region {at % 100}",
        batch=f"batch {at}",
        sha256="0" * 64,
        at=NOON,
        version=at,
        rows=7,
        new=7,
        corrected=0,
        unchanged=0,
        rejected=0,
        first=NOON,
        last=NOON + timedelta(days=6),
    )


def fill(engine: Engine, since: int, until: int) -> None:
    with writing(engine) as connection:
        connection.execute(
            insert(BATCHES), [batches._line(receipt(at), "id") for at in range(since, until)]
        )  # faster than to enter them


def steps_of_a_look(connection: Connection, names: list[tuple[str, str]]) -> int:
    """How many hundred steps SQLite's machine makes to find batches."""
    done = 0

    def step() -> int:
        nonlocal done
        done += 1
        return 0

    raw: Any = connection.connection.driver_connection
    raw.set_progress_handler(step, STEPS)
    found = batches.find(connection, "covid", "id", names)
    raw.set_progress_handler(None, STEPS)
    assert len(found) == len(names)
    return done


def test_batches_are_found_by_their_names_and_not_by_reading_all(engine: Engine) -> None:
    names = [(one.region, one.batch) for one in map(receipt, range(40))]
    fill(engine, 0, 500)
    with reading(engine) as connection:
        few = steps_of_a_look(connection, names)
    fill(engine, 500, 20_000)
    with reading(engine) as connection:
        many = steps_of_a_look(connection, names)
        asked: list[tuple[str, Any]] = []
        event.listen(connection, "before_cursor_execute", lambda *told: asked.append((told[2], told[3])))
        batches.find(connection, "covid", "id", names)
        statement, values = asked[0]
        plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all())
    assert many < 1.5 * few + 10
    assert "sqlite_autoindex_springtide_batches" in plan
    assert "by_version" not in plan
