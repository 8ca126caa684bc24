"""Puts a finished model where the client of a job wants it, if that is a place that the settings allow."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from springtide.app.sealing import is_sealed, seal, unseal
from springtide.domain.errors import BadRows, StoreFailed
from springtide.notify.reach import reach
from springtide.settings.words import is_web_address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from springtide.domain.job import Job, JobParams
    from springtide.settings.words import Jobs

__all__ = ["check_places", "deliver", "sealed"]

TIMEOUT_S = 300.0


def check_places(settings: Jobs, params: JobParams) -> None:
    """Refuse places that a client may not name.

    Raises
    ------
    BadRows
        If the model is to be put where section ``[jobs]`` allows nothing, a webhook is no web address, or there is no
        secret to sign and to seal with.
    """
    addresses = [one for one in (params.webhook, params.deliver) if one is not None and "://" in one]
    if params.deliver is not None and not _is_allowed(settings, params.deliver):
        raise BadRows(
            "the model may not be put there",
            where="deliver in the params of the job",
            do="name a place that `deliver` in section [jobs] of the server's springtide.toml begins with, or fetch the model",
        )
    if params.webhook is not None and not is_web_address(params.webhook):
        raise BadRows(
            "it is no web address, or one with a user and password",
            where="webhook in the params of the job",
            do="write https://HOST/PATH",
        )
    if addresses and settings.secret is None:
        raise BadRows(
            "web addresses are not taken: there is no secret to sign and to keep them with",
            where="webhook or deliver in the params of the job",
            do="set `secret` in section [jobs] of the server's springtide.toml, or ask for the job's state",
        )


def sealed(settings: Jobs, params: JobParams) -> JobParams:
    """The params as they are stored: web addresses may hold a signature."""
    if settings.secret is None:
        return params
    return replace(
        params,
        webhook=None if params.webhook is None else seal(params.webhook, settings.secret),
        deliver=seal(params.deliver, settings.secret) if params.deliver and "://" in params.deliver else params.deliver,
    )


def deliver(settings: Jobs, job: Job, data: bytes, name: str) -> Mapping[str, Any]:
    """Put the model's file to a web address (PUT), or into a folder under its name; what came of it.

    Raises
    ------
    StoreFailed
        If it cannot be put there.
    """
    place = str(job.params.deliver)
    if is_sealed(place):
        place = unseal(place, settings.secret)
    check_places(settings, replace(job.params, deliver=place, webhook=None))  # the settings may have changed
    if "://" not in place:
        return _put_into(Path(place), f"{job.id}-{name}", data)
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


def _put_into(folder: Path, name: str, data: bytes) -> Mapping[str, Any]:
    path = folder / name
    part = folder / f".{name}.part"
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
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
            plain = "@" not in asked.netloc and not re.search(r"\.\.|[/\\]{2}|\\|%", asked.path)
            if allowed.netloc and (asked.scheme, asked.netloc) == (allowed.scheme, allowed.netloc) and inside and plain:
                return True
        return False
    path = Path(place).resolve()
    folders = [Path(one).resolve() for one in settings.deliver if "://" not in one]
    return any(path == folder or folder in path.parents for folder in folders)
