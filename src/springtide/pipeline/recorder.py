"""Keeps a run's record in the registry while its steps go by."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from springtide.domain.clock import utc_now
from springtide.domain.errors import SpringtideError
from springtide.domain.run import Failure, Run, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from springtide.domain.run import State
    from springtide.registry.registry import Registry
    from springtide.tasks.seam import Advance

__all__ = ["Recorder", "Reporter", "Silent", "failure_of", "finished_steps"]

TELL_S = 0.5  # between two entries of a training's progress


class Reporter(Protocol):
    """Told how a run goes, for the people who wait for it."""

    def step_started(self, name: str) -> None:
        """A step begins."""

    def step_advanced(self, advance: Advance) -> None:
        """The training has come further."""

    def step_finished(self, step: Step) -> None:
        """A step is done."""


class Silent:
    """Tells nobody."""

    def step_started(self, name: str) -> None:
        """Nothing."""

    def step_advanced(self, advance: Advance) -> None:
        """Nothing."""

    def step_finished(self, step: Step) -> None:
        """Nothing."""


@dataclass(slots=True)
class Recorder:
    """The record of one run: each step is stored when it starts and again when it ends, and told as an event."""

    run: Run
    registry: Registry
    reporter: Reporter
    now: Callable[[], datetime] = utc_now
    timer: Callable[[], float] = time.perf_counter  # durations are real seconds, whatever the clock says
    told: float = -math.inf  # when the last progress was stored

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Store the run's end, whatever it is; an error goes on to the caller."""
        try:
            yield
        except KeyboardInterrupt:
            self._end("cancelled", Failure("stopped by hand", self._last_step(), "start the run again when you like"))
            raise
        except Exception as error:
            self._end("failed", failure_of(error, where=self._last_step()))
            raise
        self._end("succeeded", None)

    @contextmanager
    def step(self, name: str) -> Iterator[dict[str, Any]]:
        """One step; what is put into the yielded dictionary is its result.

        A step that an earlier process began and did not end is begun again in its place.
        """
        result: dict[str, Any] = {}
        step, began = Step(name, self.now()), self.timer()
        self._change(lambda run: replace(run, steps=(*finished_steps(run), step)))
        self.registry.add_event(self.run.id, "step_started", {"step": name}, self.now())
        self.reporter.step_started(name)
        yield result
        done = replace(step, seconds=self.timer() - began, result=result)
        version = result.get("version") if name == "publish" else None
        self._change(lambda run: replace(run, steps=(*run.steps[:-1], done), version=version or run.version))
        said = {**_brief(result), "step": name, "seconds": done.seconds}
        self.registry.add_event(self.run.id, "step_finished", said, self.now())
        self.reporter.step_finished(done)

    def advance(self, advance: Advance) -> None:
        """Tell how far the training has come; stored at most twice a second."""
        self.reporter.step_advanced(advance)
        if self.timer() - self.told < TELL_S:
            return
        self.told = self.timer()
        self.registry.add_event(self.run.id, "progress", asdict(advance), self.now())

    def _change(self, change: Callable[[Run], Run]) -> None:
        self.run = self.registry.change_run(self.run.id, change)

    def _end(self, state: State, failure: Failure | None) -> None:
        self.run = self.registry.end_run(
            self.run.id, lambda run: replace(run, state=state, failure=failure, finished=self.now())
        )

    def _last_step(self) -> str:
        return f"step {self.run.steps[-1].name}" if self.run.steps else "before the first step"


def finished_steps(run: Run) -> tuple[Step, ...]:
    """The steps that have come to their end."""
    return tuple(step for step in run.steps if step.seconds is not None)


def failure_of(error: Exception, *, where: str) -> Failure:
    """Why a run failed, for people."""
    if isinstance(error, SpringtideError):
        return Failure(error.what, error.where, error.do)
    what = f"{type(error).__name__}: {error}"[:2000]
    return Failure(what, where, "this is a bug or a broken machine: report it with the run's id")


def _brief(result: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers and words of a step's result; tables stay in the run's record."""
    return {name: value for name, value in result.items() if isinstance(value, str | int | float)}
