"""One pass: collect, snapshot, prepare, train, export, judge, publish."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = ["Failure", "Run", "Step"]


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
    """One run and how far it came."""

    id: str
    model: str
    state: Literal["running", "succeeded", "failed", "cancelled"]
    reasons: tuple[str, ...]
    started: datetime
    finished: datetime | None = None
    steps: tuple[Step, ...] = ()
    version: int | None = None
    failure: Failure | None = None
    process: str | None = None  # "host:process id" that works on it
