"""Real databases of a test's own."""

from __future__ import annotations

import time
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import create_engine, text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["new_database", "postgres_away", "postgres_server"]


@contextmanager
def postgres_server(folder: Path) -> Iterator[str]:
    """A PostgreSQL server for a while; the URL of its first database."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package warns where there is no session folder
        import pgserver  # noqa: PLC0415 - where its warning is expected
    server = pgserver.get_server(folder, cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


@contextmanager
def postgres_away(folder: Path) -> Iterator[None]:
    """The server in that folder breaks off all connections and takes none for a while."""
    import pgserver  # noqa: PLC0415 - has warned already

    server = pgserver.get_server(folder)
    pgserver.pg_ctl(["-m", "immediate", "-w", "stop"], pgdata=server.pgdata, user=server.system_user)
    try:
        yield
    finally:
        server.ensure_postgres_running()


def new_database(server: str) -> str:
    """Make an empty database on a server; its URL."""
    name = f"t{time.monotonic_ns()}"
    admin = create_engine(server.replace("postgresql", "postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return server.replace("/postgres?", f"/{name}?")
