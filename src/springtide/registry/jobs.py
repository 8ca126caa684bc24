"""Jobs as rows: what somebody sent, under the id of the run that does it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import delete, insert, select

from springtide.domain.errors import NotFound
from springtide.domain.job import Job, JobParams
from springtide.domain.run import ENDED
from springtide.registry.schema import EVENTS, JOBS, RUNS

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["add", "find", "forget", "list_jobs", "with_key"]

AT_ONCE = 500  # jobs that one transaction forgets


def add(connection: Connection, job: Job) -> None:
    """Store a new job."""
    text = msgspec.json.encode(job).decode()
    connection.execute(insert(JOBS).values(id=job.id, key=job.key, created=job.created, job=text))


def find(connection: Connection, job: str) -> Job:
    """One job; raises `NotFound`."""
    text = connection.scalar(select(JOBS.c.job).where(JOBS.c.id == job))
    if text is None:
        raise NotFound(f"there is no job {job!r}", where="the registry", do="see `springtide jobs list`")
    return _read(text)


def with_key(connection: Connection, key: str) -> Job | None:
    """The job that was sent under a key of its sender."""
    text = connection.scalar(select(JOBS.c.job).where(JOBS.c.key == key))
    return None if text is None else _read(text)


def list_jobs(connection: Connection, limit: int) -> list[Job]:
    """The newest jobs, newest first."""
    rows = select(JOBS.c.job).order_by(JOBS.c.created.desc(), JOBS.c.id.desc()).limit(limit)
    return [_read(text) for text in connection.scalars(rows)]


def forget(connection: Connection, before: datetime) -> list[str]:
    """Remove the jobs that were sent before a time and have ended, with what they told; their ids."""
    ended = select(JOBS.c.id).join(RUNS, RUNS.c.id == JOBS.c.id).where(RUNS.c.state.in_(ENDED))
    old = list(connection.scalars(ended.where(JOBS.c.created < before).limit(AT_ONCE)))
    connection.execute(delete(EVENTS).where(EVENTS.c.run.in_(old)))
    connection.execute(delete(JOBS).where(JOBS.c.id.in_(old)))
    return old


def _read(text: str) -> Job:
    raw = msgspec.json.decode(text, type=dict[str, Any])
    params = JobParams(**raw["params"] | {"features": tuple(raw["params"]["features"])})
    return Job(**raw | {"params": params, "created": datetime.fromisoformat(raw["created"])})
