"""The composition root of a job's steps: registry, files, sandbox and the way out."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from springtide.app.cells import limits_of, open_engine
from springtide.app.code import code_version
from springtide.app.hand_over import deliver
from springtide.app.jobs import packed
from springtide.pipeline.jobs.cells import Bench
from springtide.pipeline.jobs.material import Material
from springtide.pipeline.jobs.steps import JobSteps
from springtide.pipeline.telling import Telling
from springtide.registry.run_files import RunFilesOf

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from springtide.app.home import Home
    from springtide.domain.job import Job
    from springtide.domain.run import Run

__all__ = ["steps_of_job", "telling_of"]


def telling_of(home: Home, run: str) -> Telling:
    """Writes down what a run tells."""
    return Telling(partial(home.registry.add_events, run), stored=home.registry.count_events(run))


def steps_of_job(
    home: Home, run: Run, folder: Path, results: dict[str, Mapping[str, Any]], told: Telling | None = None
) -> JobSteps:
    """What a run of the queue is to do that somebody sent as a job."""
    settings = home.settings.sandbox
    telling = told or telling_of(home, run.id)

    def bench() -> Bench:
        return Bench(open_engine(settings), limits_of(settings), telling, settings.model)

    def put(job: Job, number: int) -> Mapping[str, Any]:
        version = home.registry.version(run.model, number)
        with packed(home, version) as archive:
            return deliver(home.settings.jobs, job, archive.read(), f"{version.model}-{number}.zip")

    job, files = home.registry.job(run.id), RunFilesOf(home.run_files, run.id)
    material = Material(job, home.registry, files, folder, results, home.settings.jobs.max_unpacked)
    return JobSteps(material, code_version(), bench, put)
