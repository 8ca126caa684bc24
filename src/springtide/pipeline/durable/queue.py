"""The queue of runs: DBOS in the registry's own database, so that a run and its place in the queue are one transaction."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from dbos import DBOS, DBOSClient
from sqlalchemy import inspect, make_url

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from springtide.domain.run import Run

__all__ = ["FORMAT", "QUEUE", "WORKFLOW", "RunQueue", "dbos_url", "serializer"]

QUEUE = "springtide"
WORKFLOW = "springtide.run"
FORMAT = "1"  # of the workflow: changed with the order of its steps, never with anything else
LOWEST = 2_000_000_000  # DBOS: the lowest number goes first
SCHEMA = "dbos"  # on PostgreSQL; SQLite has none


class RunQueue:
    """Where runs wait for a worker, and how they are taken away from it."""

    def __init__(self, database: str, engine: Engine) -> None:
        self._url = dbos_url(database)
        self._prepare(engine)
        self._client = DBOSClient(system_database_url=self._url, serializer=serializer(), retry_connection_errors=False)

    def _prepare(self, engine: Engine) -> None:
        """Make DBOS's tables, where no worker has done it yet."""
        quiet()
        schema = None if engine.dialect.name == "sqlite" else SCHEMA
        if not inspect(engine).has_table("workflow_status", schema=schema):
            DBOS.migrate(self._url, schema=SCHEMA)

    def add(self, connection: Connection, run: Run) -> None:
        """Let a run wait, in the caller's transaction; workers of the newest format take it up."""
        options: Any = {
            "workflow_name": WORKFLOW,
            "queue_name": QUEUE,
            "workflow_id": run.id,
            "priority": LOWEST - run.priority,
        }
        self._client.enqueue_in_transaction(connection, options, run.id)

    def close(self) -> None:
        """Close its connections."""
        self._client.destroy()


def dbos_url(database: str) -> str:
    """The registry's database as DBOS names it."""
    url = make_url(database)
    if url.get_backend_name() == "postgresql":
        return url.set(drivername="postgresql").render_as_string(hide_password=False)
    return database


def serializer() -> Any:
    """JSON: the database holds no pickle."""
    from dbos._serialization import DBOSPortableJSON  # noqa: PLC0415 - it has no public name yet

    return DBOSPortableJSON


def quiet() -> None:
    """DBOS's own log is for those who debug it; what people need to know stands in the run."""
    logging.getLogger("dbos").setLevel(logging.CRITICAL)
