"""The routes of jobs: data, perhaps a model and a script, in; the retrained model out."""

# Litestar reads these annotations when the program runs, so they are not put off.

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Annotated, Any

from anyio import to_thread
from litestar import get, post
from litestar.datastructures import UploadFile
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath, HeaderParameter, QueryParameter
from litestar.response import Stream

from springtide.api.forms import FormRequest
from springtide.app import jobs, queue
from springtide.app.answers import Answers

__all__ = ["JOB_ROUTES"]

Asked = NamedDependency[Answers]


@dataclass
class JobForm:
    """What a job is sent as: files, and what is asked as JSON."""

    data: UploadFile
    params: str
    model: UploadFile | None = None
    script: UploadFile | None = None
    requirements: UploadFile | None = None


@post("/v1/jobs", status_code=202, request_class=FormRequest, tags=["jobs"])
async def submit_job(
    answers: Asked,
    data: Annotated[JobForm, Body(media_type=RequestEncodingType.MULTI_PART)],
    key: Annotated[str | None, HeaderParameter(name="Idempotency-Key")] = None,
) -> Any:
    """Have a model retrained: the job waits for a worker. The same Idempotency-Key is the same job."""
    sent = {
        role: jobs.Sent(file.filename or role, file.file)
        for role in jobs.FILES
        if (file := getattr(data, role)) is not None
    }
    params = jobs.read_params(data.params)
    job = await to_thread.run_sync(lambda: jobs.submit_job(answers.home, params, sent, key=key))
    return await to_thread.run_sync(jobs.find_job, answers.home, job.id)


@get("/v1/jobs", sync_to_thread=True, tags=["jobs"])
def list_jobs(answers: Asked, limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 50) -> list[Any]:
    """The newest jobs, newest first."""
    return jobs.list_jobs(answers.home, limit=limit)


@get("/v1/jobs/{job:str}", sync_to_thread=True, tags=["jobs"])
def one_job(answers: Asked, job: FromPath[str]) -> Any:
    """A job: its state, its steps, and in the end whether the new model is better, and why."""
    return jobs.find_job(answers.home, job)


@get("/v1/jobs/{job:str}/model", sync_to_thread=True, tags=["jobs"])
def job_model(
    answers: Asked,
    job: FromPath[str],
    file: Annotated[str | None, QueryParameter(description="One file; all of them as a zip when left out.")] = None,
) -> Stream:
    """The new model, as a zip that a later job takes as its model, or one file of it: model.onnx, model.keras."""
    name, content = jobs.model_file(answers.home, job, file)
    return Stream(
        _pieces(content),
        media_type="application/zip" if file is None else "application/octet-stream",
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        yield from jobs.pieces(file)


@get("/v1/jobs/{job:str}/logs", sync_to_thread=True, media_type="text/plain", tags=["jobs"])
def job_logs(answers: Asked, job: FromPath[str]) -> str:
    """What was printed while the job was done; `GET /v1/runs/{id}/events` tells it as it comes."""
    return "".join(f"{line}\n" for line in jobs.log_of(answers.home, job))


@post("/v1/jobs/{job:str}/cancel", status_code=202, sync_to_thread=True, tags=["jobs"])
def cancel_job(answers: Asked, job: FromPath[str]) -> Any:
    """Stop a job: at once where it waits, within two seconds where a worker has it."""
    queue.cancel(answers.home, answers.home.registry.job(job).id, by="api")
    return jobs.find_job(answers.home, job)


JOB_ROUTES = (submit_job, list_jobs, one_job, job_model, job_logs, cancel_job)
