"""Puts a finished model where the client of a job wants it, if that is a place that the settings allow."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from springtide.domain.errors import BadRows, StoreFailed
from springtide.notify.reach import reach

if TYPE_CHECKING:
    from collections.abc import Mapping

    from springtide.domain.job import Job
    from springtide.settings.words import Jobs

__all__ = ["check_places", "deliver"]

TIMEOUT_S = 300.0


def check_places(settings: Jobs, job: Job) -> None:
    """Refuse places that a client may not name.

    Raises
    ------
    BadRows
        If the model is to be put where section ``[jobs]`` allows nothing, or a webhook cannot be signed.
    """
    params = job.params
    if params.deliver is not None and not _is_allowed(settings, params.deliver):
        raise BadRows(
            "the model may not be put there",
            where="deliver in the params of the job",
            do="name a place that `deliver` in section [jobs] of the server's springtide.toml begins with, or fetch the model",
        )
    if params.webhook is not None and settings.secret is None:
        raise BadRows(
            "webhooks of jobs are not set up",
            where="webhook in the params of the job",
            do="set `secret` in section [jobs] of the server's springtide.toml, or ask for the job's state",
        )
    if params.webhook is not None and urlsplit(params.webhook).scheme not in ("http", "https"):
        raise BadRows("it is no web address", where="webhook in the params of the job", do="write https://HOST/PATH")


def deliver(settings: Jobs, job: Job, data: bytes, name: str) -> Mapping[str, Any]:
    """Put the model's file to a web address (PUT), or into a folder under its name; what came of it.

    Raises
    ------
    StoreFailed
        If it cannot be put there.
    """
    place = str(job.params.deliver)
    check_places(settings, job)
    if "://" in place:
        answer = reach(
            "PUT",
            place,
            data,
            {"Content-Type": "application/octet-stream"},
            allow_private=settings.allow_private,
            timeout_s=TIMEOUT_S,
        )
        if not answer.delivered:
            raise StoreFailed(
                f"the model was not taken: {answer.words}",
                where=f"deliver: {urlsplit(place).hostname}",
                do="check the address and its signature, or fetch the model from the job",
            )
        return {"to": str(urlsplit(place).hostname), "bytes": len(data)}
    path = Path(place) / f"{job.id}-{name}"
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".springtide-", delete=False) as file:
            file.write(data)
        Path(file.name).replace(path)
    except OSError as error:
        raise StoreFailed(
            f"the model cannot be written: {error.strerror}", where=str(path), do="check the folder, or fetch the model"
        ) from error
    return {"to": str(path), "bytes": len(data)}


def _is_allowed(settings: Jobs, place: str) -> bool:
    """Whether a place is one of those that are named, or lies inside one: by parts, so that ``/srv/a`` is not ``/srv/ab``."""
    if "://" in place:
        asked = urlsplit(place)
        for one in settings.deliver:
            allowed = urlsplit(one)
            inside = asked.path == allowed.path or asked.path.startswith(allowed.path.rstrip("/") + "/")
            plain = ".." not in asked.path and "@" not in asked.netloc
            if allowed.netloc and (asked.scheme, asked.netloc) == (allowed.scheme, allowed.netloc) and inside and plain:
                return True
        return False
    path = Path(place).resolve()
    folders = [Path(one).resolve() for one in settings.deliver if "://" not in one]
    return any(path == folder or folder in path.parents for folder in folders)
