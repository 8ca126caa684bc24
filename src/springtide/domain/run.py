"""One pass: collect, snapshot, prepare, train, export, judge, publish."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = ["ENDED", "Event", "Failure", "Run", "State", "Step", "Worker"]

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
ENDED: frozenset[State] = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run failed, for people."""

    what: str
    where: str
    do: str


@dataclass(frozen=True, slots=True)
class Step:
    """One finished or running step of a run; `result` is plain JSON."""

    name: str
    started: datetime
    seconds: float | None = None
    result: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """One run and how far it came.

    `started` is the time at which it was asked for while it waits, and that of its first step from then on.
    """

    id: str
    model: str
    state: State
    reasons: tuple[str, ...]
    started: datetime
    finished: datetime | None = None
    steps: tuple[Step, ...] = ()
    version: int | None = None
    failure: Failure | None = None
    process: str | None = None  # "host:process id" that works on it
    asked: datetime | None = None  # for; None where it was never in the queue
    until: datetime | None = None  # it learns and judges from what was known then; from all rows when None
    priority: int = 0  # of those that wait the highest goes first
    collect: bool = True  # whether the table's sources are asked for new rows first
    worker: str | None = None  # whose turn it is
    attempts: int = 0  # how often a worker took it up
    stop_asked: str | None = None  # why it is to be cancelled
    kind: Literal["retraining", "job"] = "retraining"

    @property
    def lane(self) -> str:
        """Of those with the same lane one waits or runs, and whoever asks for another joins it; a job has its own."""
        return self.model if self.kind == "retraining" else f"job {self.id}"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDED


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a run told while it went on; `body` is plain JSON.

    Kinds: ``state``, ``reason``, ``step_started``, ``progress``, ``step_finished``, ``step_retried``, ``log``.
    """

    run: str
    number: int
    at: datetime
    kind: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that takes runs off the queue, and when it last said that it lives."""

    id: str
    process: str
    code: str
    started: datetime
    beat: datetime
