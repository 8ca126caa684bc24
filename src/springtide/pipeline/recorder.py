"""Keeps a run's record in the registry while its steps go by."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from springtide.domain.clock import utc_now
from springtide.domain.errors import SpringtideError
from springtide.domain.run import Failure, Run, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from springtide.registry.registry import Registry
    from springtide.tasks.seam import Advance

__all__ = ["Recorder", "Reporter", "Silent"]


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
    """The record of one run: each step is stored when it starts and again when it ends."""

    run: Run
    registry: Registry
    reporter: Reporter
    now: Callable[[], datetime] = utc_now
    timer: Callable[[], float] = time.perf_counter  # durations are real seconds, whatever the clock says

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Store the run's end, whatever it is; an error goes on to the caller."""
        self.registry.save_run(self.run)
        try:
            yield
        except SpringtideError as error:
            self._end("failed", Failure(error.what, error.where, error.do))
            raise
        except KeyboardInterrupt:
            self._end("cancelled", Failure("stopped by hand", self._last_step(), "start the run again when you like"))
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {error}"[:2000]
            self._end(
                "failed",
                Failure(what, self._last_step(), "this is a bug or a broken machine: report it with the run's id"),
            )
            raise
        self._end("succeeded", None)

    @contextmanager
    def step(self, name: str) -> Iterator[dict[str, Any]]:
        """One step; what is put into the yielded dictionary is its result."""
        result: dict[str, Any] = {}
        step, began = Step(name, self.now()), self.timer()
        self.run = replace(self.run, steps=(*self.run.steps, step))
        self.registry.save_run(self.run)
        self.reporter.step_started(name)
        yield result
        done = replace(step, seconds=self.timer() - began, result=result)
        self.run = replace(self.run, steps=(*self.run.steps[:-1], done))
        self.registry.save_run(self.run)
        self.reporter.step_finished(done)

    def published(self, version: int) -> None:
        """Note which version the run made."""
        self.run = replace(self.run, version=version)

    def _end(self, state: Any, failure: Failure | None) -> None:
        self.run = replace(self.run, state=state, failure=failure, finished=self.now())
        self.registry.save_run(self.run)

    def _last_step(self) -> str:
        return f"step {self.run.steps[-1].name}" if self.run.steps else "before the first step"
