"""Jobs: sent, followed, fetched and forgotten; a job is a run like any other."""

from __future__ import annotations

import hashlib
import io
import re
import tempfile
import zipfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import PurePath
from typing import IO, TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from springtide.app.hand_over import check_places, sealed
from springtide.app.queue import anyone_works, made_before, new_run_id
from springtide.domain.clock import utc_now
from springtide.domain.errors import BadRows, NotFound, NotReady, did_you_mean
from springtide.domain.job import Job, JobParams
from springtide.domain.notice import STREAM
from springtide.domain.printing import printable
from springtide.domain.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from springtide.app.home import Home
    from springtide.domain.model import Version

__all__ = [
    "FILES",
    "Sent",
    "find_job",
    "forget_lost_files",
    "forget_old_jobs",
    "key_of_message",
    "list_jobs",
    "log_of",
    "message_of_key",
    "model_file",
    "packed",
    "pieces",
    "read_params",
    "submit_job",
]

FILES = ("data", "model", "script", "requirements")
MOST_EVENTS = 100_000
PIECE = 1 << 20  # bytes of a file that are read at a time
BY_JOB = 5  # priority: below people who wait at a terminal, above triggers
OF_A_STREAM = f"{STREAM}/"  # begins the keys of jobs that came in messages
SECRET = ("webhook", "deliver")  # addresses that may hold a signature


@dataclass(frozen=True, slots=True)
class Sent:
    """A file as it was sent; it is read from its beginning, and never as a whole."""

    name: str
    file: IO[bytes]

    @classmethod
    def of(cls, name: str, data: bytes) -> Sent:
        """A small file."""
        return cls(name, io.BytesIO(data))


def read_params(text: str | bytes) -> JobParams:
    """Read params as JSON, strictly.

    Raises
    ------
    BadRows
        If it is no JSON, or a key is unknown or wrong.
    """
    where = "params of the job"
    try:
        raw = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise BadRows(str(error), where=where, do='write a JSON object: {"target": "sold"}') from error
    meant = get_type_hints(JobParams)
    for name, value in raw.items():
        if name not in meant:
            raise BadRows(f"key {name!r} is not known", where=where, do=did_you_mean(name, meant))
        try:
            msgspec.convert(value, meant[name])
        except msgspec.ValidationError as error:
            raise BadRows(f"{name}: {error}", where=where, do=_allowed(meant[name], value)) from error
    if "target" not in raw:
        raise BadRows("target is missing", where=where, do="name the column that is to be predicted")
    params: JobParams = msgspec.convert(raw, JobParams)
    _check(params, where)
    return params


def _allowed(meant: Any, value: object) -> str:
    """What may stand where `value` does not."""
    choices = [word for one in (meant, *get_args(meant)) if get_origin(one) is Literal for word in get_args(one)]
    return did_you_mean(str(value), choices) if choices else "docs/jobs.md says what it means"


def _check(params: JobParams, where: str) -> None:
    wrong = {
        "judge must be a share from 0.05 to 0.5": not 0.05 <= params.judge <= 0.5,
        "budget_s must be from 1 to 86,400": not 1 <= params.budget_s <= 86_400,
        "alpha must be above 0 and below 1": not 0 < params.alpha < 1,
        "seed must be from 0 to 4,294,967,295": not 0 <= params.seed < 2**32,
        "name must be letters, digits, - and _": params.name is not None
        and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", params.name),
    }
    for what, is_wrong in wrong.items():
        if is_wrong:
            raise BadRows(what, where=where, do="correct it")


def submit_job(
    home: Home,
    params: JobParams,
    files: Mapping[str, Sent],
    *,
    key: str | None = None,
    message: str | None = None,
    now: Callable[[], datetime] = utc_now,
) -> Job:
    """Let a job wait for a worker; one that was sent under the same key, or in the same message, is returned instead.

    Raises
    ------
    BadRows
        If there is no data, a file has an unknown role, or a key begins as those of messages do.
    Conflict
        If the key was used for another job.
    """
    from springtide.pipeline.durable.queue import RunQueue  # noqa: PLC0415 - the queue's library costs 0.7 s

    if key is not None and message_of_key(key) is not None:
        raise BadRows(f"a key may not begin with {OF_A_STREAM!r}", where="the key of the job", do="choose another key")
    if "data" not in files:
        raise BadRows("a job needs data", where="the job", do="send a CSV or Parquet file as `data`")
    if "requirements" in files and "script" not in files:
        raise BadRows("requirements without a script", where="the job", do="send them with the script that wants them")
    if params.name in home.settings.models:
        raise BadRows(
            f"{params.name!r} is a model of the settings, which runs of its own make",
            where="name in the params of the job",
            do="choose another name",
        )
    check_places(home.settings.jobs, params)
    moment = now()
    job = Job(
        id=new_run_id(params.name or "job", moment),
        params=sealed(home.settings.jobs, params),
        created=moment,
        files={role: _plain(sent.name) for role, sent in files.items()},
        key=key if message is None else key_of_message(message),
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
    queue = RunQueue(home.settings.home.database, home.registry.engine)
    try:
        for role, sent in files.items():
            home.run_files.put(job.id, role, sent.file)
        kept = home.registry.submit_job(job, run, lambda connection: queue.add(connection, run))
    except BaseException:
        home.run_files.remove(job.id)
        raise
    finally:
        queue.close()
    if kept.id != job.id:
        home.run_files.remove(job.id)
    return kept


def key_of_message(message: str) -> str:
    """The key of the job that came in a message of that id."""
    return OF_A_STREAM + message


def message_of_key(key: str) -> str | None:
    """The id of the message that a job came in; None where it did not."""
    return key.removeprefix(OF_A_STREAM) if key.startswith(OF_A_STREAM) else None


def find_job(home: Home, job: str) -> dict[str, Any]:
    """A job, how far it has come, and what came of it."""
    return _described(home, home.registry.job(job), home.registry.waiting_runs())


def list_jobs(home: Home, *, limit: int = 50) -> list[dict[str, Any]]:
    """The newest jobs, newest first."""
    waiting = home.registry.waiting_runs()
    return [_described(home, job, waiting) for job in home.registry.jobs(limit)]


def model_file(home: Home, job: str, file: str | None = None) -> tuple[str, IO[bytes]]:
    """The model that a job has made, by a name and open: a zip of all its files, or one of them.

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
        return file, io.BytesIO(home.registry.read(version, file))
    return f"{version.model}-{version.number}.zip", packed(home, version)


def log_of(home: Home, job: str) -> list[str]:
    """The lines that were printed while a job was done, oldest first."""
    told = home.registry.events(home.registry.job(job).id, limit=MOST_EVENTS)
    return [str(event.body["line"]) for event in told if event.kind == "log"]


def forget_old_jobs(home: Home, *, before: datetime) -> list[str]:
    """Forget the jobs that were sent before a time; versions that they made stay in the registry."""
    return home.registry.forget_jobs(before)


def forget_lost_files(home: Home, *, before: datetime) -> list[str]:
    """Remove files of runs that nobody knows, or that have ended: who put them there was killed before it went on.

    Their ids begin with the time at which they were made; younger ones may be on their way.
    """
    old = [run for run in home.run_files.runs() if made_before(run, before)]
    lost = [run for run in sorted(old) if _is_over(home, run)]
    for run in lost:
        home.run_files.remove(run)
    return lost


def _is_over(home: Home, run: str) -> bool:
    try:
        return home.registry.run(run).ended
    except NotFound:
        return True


def _described(home: Home, job: Job, waiting: Sequence[Run]) -> dict[str, Any]:
    run = home.registry.run(job.id)
    ahead = next((place for place, one in enumerate(waiting) if one.id == run.id), None)
    told: dict[str, Any] = {
        "id": job.id,
        "model": run.model,
        "state": run.state,
        "runs_ahead": ahead,
        "anyone_works": None if ahead is None else anyone_works(home),
        "created": job.created,
        "finished": run.finished,
        "params": {name: value for name, value in asdict(job.params).items() if name not in SECRET},
        "files": dict(job.files),
        "steps": [{"name": step.name, "seconds": step.seconds, "result": step.result} for step in run.steps],
        "failure": None if run.failure is None else asdict(run.failure),
        "version": run.version,
        "better": None,
        "verdict": None,
        "metrics": {},
        "outputs": [],
    }
    if run.version is not None:
        version, entry = home.registry.version(run.model, run.version), home.registry.entry_of(run)
        told |= {
            "better": entry is not None and entry.action == "promote",
            "verdict": version.verdict.reason if entry is None else entry.reason,
            "metrics": version.manifest.metrics,
            "outputs": sorted(version.manifest.files),
        }
    return told


def packed(home: Home, version: Version) -> IO[bytes]:
    """All files of a version in one archive: it can be sent back as the model of a later job."""
    whole = tempfile.TemporaryFile()  # noqa: SIM115 - whoever asked for it closes it
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(version.manifest.files):
            archive.writestr(name, home.registry.read(version, name))
    whole.seek(0)
    return whole


def pieces(file: IO[bytes]) -> Iterator[bytes]:
    """The rest of a file, never as a whole."""
    return iter(partial(file.read, PIECE), b"")


def _plain(name: str) -> str:
    """A name that somebody else has chosen, fit to be said: its last part, without what cannot be printed."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return printable(last, "?")[:100] or "unnamed"


def _digest(params: JobParams, files: Mapping[str, Sent]) -> str:
    """Of what is asked and of each file: its role, its kind by its name, and its content."""
    whole = hashlib.sha256(msgspec.json.encode(params, order="sorted"))
    for role, sent in sorted(files.items()):
        content = hashlib.sha256()
        sent.file.seek(0)
        for piece in pieces(sent.file):
            content.update(piece)
        kind = "".join(PurePath(_plain(sent.name)).suffixes)
        whole.update(f"\n{role} {kind} {content.hexdigest()}".encode())
    return whole.hexdigest()
