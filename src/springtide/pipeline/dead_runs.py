"""Runs whose process was killed cannot say so themselves; the next run of the model says it for them."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from springtide.domain.run import Failure

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from springtide.domain.run import Run
    from springtide.registry.registry import Registry

__all__ = ["close_dead_runs", "is_gone", "this_process"]


def this_process() -> str:
    """``host:process id``."""
    return f"{socket.gethostname()}:{os.getpid()}"


def close_dead_runs(registry: Registry, model: str, *, now: Callable[[], datetime]) -> list[Run]:
    """Mark the runs of a model as failed whose process on this host is gone; what they had done is lost, nothing else.

    Called before this process starts its own run: one that bears its name is of an earlier process with the same
    number, as in a container that is started again.
    """
    closed = []
    for run in registry.runs(model):
        if run.state == "running" and run.worker is None and is_gone(run.process):
            step = f"step {run.steps[-1].name}" if run.steps else "before the first step"
            failure = Failure("its process ended before the run did", step, "nothing: a later run starts anew")
            end = partial(replace, state="failed", finished=now(), failure=failure)
            closed.append(registry.end_run(run.id, end))
    return closed


def is_gone(process: str | None) -> bool:
    """Whether a process of this host is no more; of other hosts nothing is known."""
    if not process or process == this_process():
        return True
    host, _, number = (process or "").rpartition(":")
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(number), 0)  # signal 0 asks only whether there is such a process
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
