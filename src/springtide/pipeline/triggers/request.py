"""Runs that something outside asks for: a message of a stream, another process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from springtide.pipeline.triggers.firing import Firing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from datetime import datetime

    from springtide.domain.trigger import TriggerState
    from springtide.registry.registry import Registry

__all__ = ["RequestTriggers", "request"]


def request(registry: Registry, model: str, reason: str, *, at: datetime) -> None:
    """Ask for a run of a model from any process; it is stored, and submitted at the next look of the scheduler.

    Ten messages with one reason make one run. A reason that changes with every message (a price, a number) would
    be a row each, until the next look.
    """
    registry.request_run(model, reason, at=at)


class RequestTriggers:
    """What is stored of such requests; those of models that the settings no longer have are left alone."""

    kind = "request"

    def __init__(self, models: Collection[str], *, registry: Registry) -> None:
        self._models, self._registry = models, registry

    def take_up(self, seen: Mapping[str, TriggerState], now: datetime) -> list[TriggerState]:
        """Nothing is kept in memory."""
        return []

    def due(self, now: datetime) -> Iterator[Firing]:
        """What is stored now."""
        for asked in self._registry.run_requests():
            if asked.subject in self._models:
                yield Firing(asked.subject, str(asked.facts["reason"]), asked)

    def settle(self, firing: Firing) -> None:
        """The scheduler removes it with the rest of what it stores."""
