"""Time that runs faster than the clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

__all__ = ["AcceleratedClock"]


@dataclass(frozen=True, slots=True)
class AcceleratedClock:
    """A clock that reads `start` when `clock` reads `begun` (now), and runs `speed` times as fast.

    Examples
    --------
    >>> from datetime import UTC, datetime, timedelta
    >>> moments = iter([datetime(2030, 1, 1), datetime(2030, 1, 1, 0, 0, 2)])
    >>> sped_up = AcceleratedClock(datetime(2024, 1, 1, tzinfo=UTC), speed=3600, clock=lambda: next(moments))
    >>> sped_up().isoformat()
    '2024-01-01T02:00:00+00:00'
    """

    start: datetime
    speed: float
    clock: Callable[[], datetime]
    begun: datetime | None = None

    def __post_init__(self) -> None:
        if self.begun is None:
            object.__setattr__(self, "begun", self.clock())

    def __call__(self) -> datetime:
        """The time it is by this clock."""
        assert self.begun is not None  # since it was made
        return self.start + (self.clock() - self.begun) * self.speed
