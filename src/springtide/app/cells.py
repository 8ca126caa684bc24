"""The sandbox as springtide.toml wants it."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from springtide.sandbox import finding
from springtide.sandbox.seam import Limits

if TYPE_CHECKING:
    from springtide.sandbox.seam import Engine
    from springtide.settings.words import Sandbox

__all__ = ["limits_of", "open_engine", "sweep"]

BELIEVED_S = 60  # podman takes 0.6 s to say that it is there


def open_engine(settings: Sandbox) -> Engine:
    """The engine that is there; see `finding.find_engine`. One that has answered is not asked again for a minute."""
    return _found(settings, int(time.monotonic() // BELIEVED_S))


@lru_cache(maxsize=1)
def _found(settings: Sandbox, _span: int) -> Engine:
    return finding.find_engine(
        settings.engine,
        environments=Path(settings.environments),
        base_image=settings.base_image,
        socket=settings.socket,
        build_network=settings.build_network,
    )


def sweep(settings: Sandbox) -> None:
    """Clear away what killed processes have left; see `finding.sweep`."""
    finding.sweep(settings.engine, environments=Path(settings.environments), socket=settings.socket)


def limits_of(settings: Sandbox) -> Limits:
    """What one cell may use."""
    return Limits(
        memory=settings.memory,
        cpus=settings.cpus,
        processes=settings.processes,
        disk=settings.disk,
        seconds=settings.time.total_seconds(),
        output=settings.output,
    )
