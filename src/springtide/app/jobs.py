"""Jobs: sent, followed, fetched and forgotten; a job is a run like any other."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from springtide.app.queue import new_run_id
from springtide.domain.clock import utc_now
from springtide.domain.errors import BadRows, NotFound, NotReady
from springtide.domain.job import Job, JobParams
from springtide.domain.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from springtide.app.home import Home

__all__ = ["FILES", "Sent", "find_job", "forget_old_jobs", "list_jobs", "model_file", "read_params", "submit_job"]

FILES = ("data", "model", "script", "requirements")
BY_JOB = 5  # priority: below people who wait at a terminal, above triggers
FORGOTTEN = "the job is over, and what it had sent is kept no longer"


@dataclass(frozen=True, slots=True)
class Sent:
    """A file as it was sent."""

    name: str
    data: bytes = field(repr=False)


def read_params(text: str | bytes) -> JobParams:
    """Read params as JSON, strictly.

    Raises
    ------
    BadRows
        If it is no JSON, or a key is unknown or wrong.
    """
    try:
        params = msgspec.convert(msgspec.json.decode(text), _StrictParams)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise BadRows(f"params: {error}", where="params of the job", do="see docs/jobs.md for its keys") from error
    return JobParams(**{name: getattr(params, name) for name in params.__struct_fields__})


def submit_job(
    home: Home,
    params: JobParams,
    files: Mapping[str, Sent],
    *,
    key: str | None = None,
    now: Callable[[], datetime] = utc_now,
) -> Job:
    """Let a job wait for a worker; one that was sent under the same key before is returned instead.

    Raises
    ------
    BadRows
        If there is no data, or a file has an unknown role.
    Conflict
        If the key was used for another job.
    """
    from springtide.pipeline.durable.queue import RunQueue  # noqa: PLC0415 - the queue's library costs 0.7 s

    if "data" not in files:
        raise BadRows("a job needs data", where="the job", do="send a CSV or Parquet file as `data`")
    moment = now()
    job = Job(
        id=new_run_id(params.name or "job", moment),
        params=params,
        created=moment,
        files={role: sent.name for role, sent in files.items()},
        key=key,
        digest=_digest(params, files),
    )
    run = Run(
        job.id,
        params.name or job.id,
        "queued",
        ("a job",),
        started=moment,
        asked=moment,
        priority=BY_JOB,
        kind="job",
    )
    for role, sent in files.items():
        home.run_files.put(job.id, role, sent.data)
    queue = RunQueue(home.settings.home.database, home.registry.engine)
    try:
        kept = home.registry.submit_job(job, run, lambda connection: queue.add(connection, run))
    except BaseException:
        home.run_files.remove(job.id)
        raise
    finally:
        queue.close()
    if kept.id != job.id:
        home.run_files.remove(job.id)
    return kept


def find_job(home: Home, job: str) -> dict[str, Any]:
    """A job, how far it has come, and what came of it."""
    return _described(home, home.registry.job(job))


def list_jobs(home: Home, *, limit: int = 50) -> list[dict[str, Any]]:
    """The newest jobs, newest first."""
    return [_described(home, job) for job in home.registry.jobs(limit)]


def model_file(home: Home, job: str, file: str | None = None) -> tuple[str, bytes]:
    """The model that a job has made: a zip of all its files, or one of them.

    Raises
    ------
    NotReady
        If it is not made yet.
    NotFound
        If the job failed, or has no such file.
    """
    run = home.registry.run(home.registry.job(job).id)
    if run.version is None:
        if not run.ended:
            raise NotReady(f"job {job} is {run.state}", where=f"job {job}", do="wait until it has succeeded")
        raise NotFound(f"job {job} made no model: it {run.state}", where=f"job {job}", do="look at its failure")
    version = home.registry.version(run.model, run.version)
    if file is not None:
        if file not in version.manifest.files:
            raise NotFound(
                f"{version.name} has no file {file!r}",
                where=f"job {job}",
                do=f"it has {', '.join(sorted(version.manifest.files))}",
            )
        return file, home.registry.read_file(version, file)
    return f"{version.model}-{version.number}.zip", _zipped(home, version)


def forget_old_jobs(home: Home, *, before: datetime) -> list[str]:
    """Forget the jobs that were sent before a time; versions that they made stay in the registry."""
    return home.registry.forget_jobs(before)
