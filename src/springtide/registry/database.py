"""The database: SQLite or PostgreSQL, opened so that both behave alike, and no error that shows a password."""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import URL, create_engine, event, exc, make_url, text

from springtide.domain.errors import Conflict, NotReady, SettingsError, SpringtideError, StoreFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

__all__ = ["open_database", "reading", "writing"]

CONNECT_S = 10
WRITER = 0x5350_5249_4E47  # "SPRING": PostgreSQL's advisory lock that makes writers of the registry take turns
SETTING = "database in section [home] of springtide.toml"
FORMS = 'write "sqlite:///var/springtide.db" or "postgresql://USER:PASSWORD@HOST/NAME"'


def open_database(url: str, *, patience_s: float = 30.0) -> Engine:
    """Make an engine for ``sqlite:///file`` or ``postgresql://...``; connects only when it is first used.

    On SQLite a writer waits `patience_s` seconds for another one before it gives up.

    Raises
    ------
    SettingsError
        If the URL cannot be understood; the message never repeats the URL, which may hold a password.
    """
    parsed = _parse(url)
    return _sqlite(parsed, patience_s) if parsed.get_backend_name() == "sqlite" else _postgresql(parsed)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads: one moment of the database."""
    with _translated(engine.url), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes; the registry's writers take turns, so what was read in it still holds at the commit."""
    with _translated(engine.url), engine.connect().execution_options(writes=True) as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": WRITER})
        yield connection


def _parse(url: str) -> URL:
    """The URL with the driver that we use."""
    try:
        parsed = make_url(url)
    except (exc.ArgumentError, ValueError):
        # `from None`: the parser's own words quote parts of the URL, and so perhaps of the password.
        raise SettingsError("the database URL cannot be read", where=SETTING, do=FORMS) from None
    drivers = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
    kind = parsed.drivername.split("+")[0]
    if kind not in drivers:
        raise SettingsError(f"{kind!r} is not a database that can be used", where=SETTING, do=FORMS)
    if kind == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise SettingsError("a database in memory is lost at exit", where=SETTING, do=FORMS)
    return parsed.set(drivername=drivers[kind])


def _sqlite(url: URL, patience_s: float) -> Engine:
    """A file in WAL mode: readers never wait, one writer at a time, and a commit is on the disk when it returns."""
    folder = Path(str(url.database)).expanduser().absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreFailed(
            f"the folder of the database cannot be made: {error.strerror}",
            where=str(folder),
            do="make the folder, or name another database in section [home] of springtide.toml",
        ) from error
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": patience_s})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # Python's driver begins too late, and never for reads: we begin ourselves
    _enter_wal(connection)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Ask for WAL mode until it is granted: on a new file SQLite does not wait here for others that start with us."""
    for _ in range(600):  # half a minute
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            time.sleep(0.05)
        else:
            return
    connection.execute("PRAGMA journal_mode=WAL")


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that turns into a write fails at once when another one wrote in between.
    immediate = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _postgresql(url: URL) -> Engine:
    """A pool that notices a restarted server before a request does."""
    try:
        return create_engine(url, hide_parameters=True, pool_pre_ping=True, connect_args={"connect_timeout": CONNECT_S})
    except ModuleNotFoundError as error:
        raise SettingsError(
            "the PostgreSQL driver is not installed", where=SETTING, do="run `pip install 'springtide[postgres]'`"
        ) from error


@contextmanager
def _translated(url: URL) -> Iterator[None]:
    """Turn the driver's errors into ours."""
    try:
        yield
    except exc.IntegrityError as error:
        raise Conflict(
            f"the database refused a row: {_words(error, url)}",
            where=_place(url),
            do="look at the journal and try again",
        ) from error
    except exc.TimeoutError as error:
        raise NotReady("all connections to the database are in use", where=_place(url), do="try again") from error
    except exc.DataError:
        raise  # a value that no database takes is a mistake of ours
    except exc.DBAPIError as error:
        raise _explain(_words(error, url), url) from error


def _explain(words: str, url: URL) -> SpringtideError:
    """What a failure of the driver means for a person."""
    where = _place(url)
    if "no such table" in words or ("relation" in words and "does not exist" in words):
        return NotReady(f"the database has no tables yet: {words}", where=where, do="run `springtide up` once")
    if "locked" in words or "busy" in words:
        return NotReady(
            f"another process holds the database: {words}",
            where=where,
            do="wait for it to finish, or stop it; then try again",
        )
    if url.get_backend_name() == "sqlite":
        return StoreFailed(
            f"the database file cannot be used: {words}",
            where=where,
            do="check free space and permissions; if the file is damaged, restore it from a backup",
        )
    return NotReady(
        f"the database does not answer: {words}", where=where, do="check that the server runs and that the URL is right"
    )


def _words(error: exc.DBAPIError, url: URL) -> str:
    """The driver's own words on one line, without the password should they repeat it."""
    words = " ".join(str(error.orig).split())
    return words.replace(str(url.password), "***") if url.password else words


def _place(url: URL) -> str:
    """The URL with its password hidden."""
    return f"database {url.render_as_string(hide_password=True)}"
