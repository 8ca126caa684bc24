"""How much of the time budget is left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Deadline"]


class Deadline:
    """A budget of `seconds` that begins now.

    Examples
    --------
    >>> ticks = iter([0.0, 2.0, 11.0])
    >>> deadline = Deadline(10.0, clock=lambda: next(ticks))
    >>> deadline.seconds_left
    8.0
    >>> deadline.passed
    True
    """

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    @property
    def seconds_left(self) -> float:
        """Never negative."""
        return max(0.0, self._end - self._clock())

    @property
    def passed(self) -> bool:
        """Whether the budget is spent."""
        return self.seconds_left == 0.0
