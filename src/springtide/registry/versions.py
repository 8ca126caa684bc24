"""The versions of a model as rows: numbered from 1, never changed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlalchemy import exists, func, insert, select

from springtide.domain.errors import Conflict, NotFound, SettingsError, did_you_mean
from springtide.domain.model import Version
from springtide.registry.schema import RETIRED, VERSIONS
from springtide.registry.wire import manifest_from, to_json, verdict_from

if TYPE_CHECKING:
    from typing import Any

    from sqlalchemy import Connection, Row, Select

    from springtide.domain.model import Manifest
    from springtide.domain.verdict import Verdict

__all__ = ["add", "find", "having_files", "list_models", "list_versions", "made_by", "parse_name", "retired_numbers"]


def parse_name(name: str) -> tuple[str, int | None]:
    """Read ``MODEL`` or ``MODEL@NUMBER``.

    >>> parse_name("btc@3"), parse_name("btc")
    (('btc', 3), ('btc', None))
    """
    match = re.fullmatch(r"([^@]+)(?:@([1-9]\d*))?", name.strip())
    if match is None:
        raise SettingsError(
            f"{name!r} names no version of a model", where="a model's name", do="write MODEL or MODEL@NUMBER: btc@3"
        )
    return match[1], int(match[2]) if match[2] else None


def find(connection: Connection, model: str, number: int) -> Version:
    """One version; raises `NotFound` with the names that there are."""
    row = connection.execute(_rows().where(VERSIONS.c.model == model, VERSIONS.c.number == number)).first()
    if row is None:
        raise _no_such(connection, model, number)
    return _version(row)


def made_by(connection: Connection, run: str, *, model: str) -> Version | None:
    """The version that a run has published, if it has."""
    row = connection.execute(_rows().where(VERSIONS.c.run == run)).first()
    if row is not None and row.model != model:
        raise Conflict(
            f"run {run} has published {row.model}@{row.number}", where=f"model {model}", do="give every run its own id"
        )
    return None if row is None else _version(row)


def list_versions(connection: Connection, model: str) -> list[Version]:
    """All versions of a model, newest first."""
    rows = connection.execute(_rows().where(VERSIONS.c.model == model).order_by(VERSIONS.c.number.desc()))
    return [_version(row) for row in rows]


def list_models(connection: Connection) -> list[str]:
    """The models that have a version, by name."""
    return sorted(connection.scalars(select(VERSIONS.c.model).distinct()))


def having_files(connection: Connection) -> list[Version]:
    """The versions of all models whose files retention has not taken, newest first within a model."""
    gone = exists().where(RETIRED.c.model == VERSIONS.c.model, RETIRED.c.number == VERSIONS.c.number)
    rows = connection.execute(_rows().where(~gone).order_by(VERSIONS.c.model, VERSIONS.c.number.desc()))
    return [_version(row) for row in rows]


def retired_numbers(connection: Connection, model: str) -> set[int]:
    """The versions of a model whose files retention has taken, or is about to."""
    return set(connection.scalars(select(RETIRED.c.number).where(RETIRED.c.model == model)))


def add(connection: Connection, manifest: Manifest, verdict: Verdict) -> Version:
    """The next version of a model; the caller's transaction is the only one that writes."""
    newest = connection.scalar(select(func.max(VERSIONS.c.number)).where(VERSIONS.c.model == manifest.model))
    number = (newest or 0) + 1
    connection.execute(
        insert(VERSIONS).values(
            model=manifest.model,
            number=number,
            run=manifest.run,
            created=manifest.created,
            lake_table=manifest.snapshot.table,
            lake_version=manifest.snapshot.version,
            manifest=to_json(manifest),
            verdict=to_json(verdict),
        )
    )
    return find(connection, manifest.model, number)


def _rows() -> Select[Any]:
    return select(VERSIONS.c.model, VERSIONS.c.number, VERSIONS.c.manifest, VERSIONS.c.verdict)


def _version(row: Row[Any]) -> Version:
    return Version(row.model, row.number, manifest_from(row.manifest), verdict_from(row.verdict))


def _no_such(connection: Connection, model: str, number: int) -> NotFound:
    newest = connection.scalar(select(func.max(VERSIONS.c.number)).where(VERSIONS.c.model == model))
    hint = did_you_mean(model, list_models(connection)) if newest is None else f"the newest is {model}@{newest}"
    return NotFound(f"there is no version {model}@{number}", where="the registry", do=hint)
