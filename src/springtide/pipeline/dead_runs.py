"""Runs whose process was killed cannot say so themselves; the next run of the model says it for them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from springtide.domain.process import is_gone, this_process
from springtide.domain.run import Failure

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from springtide.domain.run import Run
    from springtide.registry.registry import Registry

__all__ = ["close_dead_runs", "is_gone", "this_process"]


def close_dead_runs(registry: Registry, model: str, *, now: Callable[[], datetime]) -> list[Run]:
    """Mark the runs of a model as failed whose process on this host is gone; what they had done is lost, nothing else."""
    closed = []
    for run in registry.runs(model):
        if run.state == "running" and run.worker is None and is_gone(run.process):
            step = f"step {run.steps[-1].name}" if run.steps else "before the first step"
            failure = Failure("its process ended before the run did", step, "nothing: a later run starts anew")
            end = partial(replace, state="failed", finished=now(), failure=failure)
            closed.append(registry.end_run(run.id, end))
    return closed
