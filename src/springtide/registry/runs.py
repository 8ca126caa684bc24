"""Runs as rows: saved as often as they change, under their id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select, union

from springtide.domain.errors import NotFound
from springtide.registry.schema import RUNS, VERSIONS
from springtide.registry.wire import manifest_from, run_from, to_json

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from springtide.domain.run import Run

__all__ = ["find", "list_runs", "list_snapshots", "save"]


def save(connection: Connection, run: Run) -> None:
    """Store a run as it now stands in place of what was stored of it."""
    table, version = _snapshot(run)
    connection.execute(delete(RUNS).where(RUNS.c.id == run.id))
    connection.execute(
        insert(RUNS).values(
            id=run.id,
            model=run.model,
            state=run.state,
            started=run.started,
            lake_table=table,
            lake_version=version,
            run=to_json(run),
        )
    )


def find(connection: Connection, run: str) -> Run:
    """One run; raises `NotFound`."""
    text = connection.scalar(select(RUNS.c.run).where(RUNS.c.id == run))
    if text is None:
        raise NotFound(f"there is no run {run!r}", where="the registry", do="see `springtide runs`")
    return run_from(text)


def list_runs(connection: Connection, model: str | None, limit: int) -> list[Run]:
    """The newest runs of one model or of all, newest first."""
    rows = select(RUNS.c.run).order_by(RUNS.c.started.desc(), RUNS.c.id.desc()).limit(limit)
    chosen = rows if model is None else rows.where(RUNS.c.model == model)
    return [run_from(text) for text in connection.scalars(chosen)]


def list_snapshots(connection: Connection) -> set[tuple[str, int]]:
    """Every version of a lake table that a model version or a run learned from."""
    of_versions = select(VERSIONS.c.lake_table, VERSIONS.c.lake_version)
    of_runs = select(RUNS.c.lake_table, RUNS.c.lake_version).where(RUNS.c.lake_table.is_not(None))
    manifests = [manifest_from(text) for text in connection.scalars(select(VERSIONS.c.manifest))]
    outside = {(one.table, one.version) for manifest in manifests for one in manifest.outside}
    return outside | {(row[0], row[1]) for row in connection.execute(union(of_versions, of_runs))}


def _snapshot(run: Run) -> tuple[str | None, int | None]:
    """The table and version in the result of the step named ``snapshot``, if the run has come so far."""
    for step in run.steps:
        if step.name == "snapshot" and {"table", "version"} <= step.result.keys():
            return str(step.result["table"]), int(step.result["version"])
    return None, None
