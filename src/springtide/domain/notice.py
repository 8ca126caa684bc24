"""What people are told without asking: an event, in a sentence, and how it comes to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = ["EVENTS", "OF_A_JOB", "STREAM", "Delivery", "Event", "Notice"]

Event = Literal["promoted", "kept", "failed", "drift", "source_silent", "skill_lost"]
EVENTS: tuple[Event, ...] = get_args(Event)
STREAM = "stream"  # the target that is a broker's topic of events
OF_A_JOB = "job "  # begins the target of a notice to the sender of a job


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that happened, to a model or a source.

    `id` is the same whenever the same thing is told again, so that nobody hears of it twice: ``{run}-{event}`` for the
    end of a run, ``{run}-{number}`` for another state of it (told to streams alone), and
    ``{event}-{model or source}-{time at which it began}`` elsewhere. `facts` is plain JSON.
    """

    id: str
    event: Event | Literal["state", "test"]
    title: str
    text: str
    at: datetime
    model: str | None = None
    source: str | None = None
    run: str | None = None
    version: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A notice on its way to one place; `target` names the place and holds no secret.

    `tries` failed so far, the last one with the words `failure`; the next one is `due`.
    """

    notice: Notice
    target: str
    created: datetime
    due: datetime
    tries: int
    state: Literal["waiting", "delivered", "given up"]
    failure: str | None = None
