"""The composition root of a job's steps: registry, files, sandbox and the way out."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from springtide.app.cells import limits_of, open_engine
from springtide.app.code import code_version
from springtide.app.delivery import deliver
from springtide.domain.clock import utc_now
from springtide.pipeline.jobs.cells import Bench
from springtide.pipeline.jobs.steps import JobSteps
from springtide.registry.run_files import RunFilesOf

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from springtide.app.home import Home
    from springtide.domain.run import Run

__all__ = ["steps_of_job"]


def steps_of_job(home: Home, run: Run, folder: Path, results: dict[str, Mapping[str, Any]]) -> JobSteps:
    """What a run of the queue is to do that somebody sent as a job."""
    settings = home.settings.sandbox

    def told(kind: str, body: Mapping[str, Any]) -> None:
        home.registry.add_event(run.id, kind, body, utc_now())

    def bench() -> Bench:
        return Bench(open_engine(settings), limits_of(settings), told)

    job = home.registry.job(run.id)
    return JobSteps(
        job,
        code_version(),
        home.registry,
        RunFilesOf(home.run_files, run.id),
        folder,
        bench,
        partial(deliver, home.settings.jobs),
        results=results,
    )
