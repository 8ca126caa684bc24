"""How requests wait: one pace for all, pauses that a service asks for, longer waits from try to try."""

from __future__ import annotations

import re
import threading
from concurrent.futures import CancelledError
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LONGEST_WAIT_S", "PASSING", "TRIES", "Pace", "say_shortly", "seconds_asked_for", "wait_before_retry_s"]

TRIES = 6
LONGEST_WAIT_S = 120.0  # longer than that is for the scheduler, not for a sleeping thread
PASSING = {408, 418, 425, 429}  # HTTP statuses below 500 that are worth another try


class Pace:
    """Gives every request its turn: one rate for all threads, and one pause when the service asks for it.

    Parameters
    ----------
    sleep, timer
        Both in seconds; `timer` never goes back.
    """

    def __init__(self, sleep: Callable[[float], None], timer: Callable[[], float]) -> None:
        self._sleep, self._timer = sleep, timer
        self._lock = threading.Lock()
        self._next_s = 0.0
        self._stopped = False

    def wait(self, cost_s: float) -> None:
        """Wait for the next turn; the one after it comes `cost_s` later."""
        with self._lock:
            turn_s = max(self._next_s, self._timer())
            self._next_s = turn_s + cost_s
        self._until(turn_s)

    def pause(self, seconds: float) -> None:
        """Give no new turn for that long."""
        with self._lock:
            until_s = self._timer() + seconds
            self._next_s = max(self._next_s, until_s)
        self._until(until_s)

    def stop(self) -> None:
        """End all waits now: nobody wants the answers any more."""
        self._stopped = True

    def _until(self, moment_s: float) -> None:
        while (left_s := moment_s - self._timer()) > 0 and not self._stopped:
            self._sleep(min(left_s, 1.0))
        if self._stopped:
            raise CancelledError


def wait_before_retry_s(
    tried: int,
    *,
    asked_s: float | None,
    jitter: Callable[[], float],
    first_s: float = 1.0,
    longest_s: float = 60.0,
) -> float:
    """As long as the service asks for; else longer each time, and never quite as long as another client.

    >>> [wait_before_retry_s(tried, asked_s=None, jitter=lambda: 1.0) for tried in (1, 2, 7)]
    [1.0, 2.0, 60.0]
    """
    own_s = min(longest_s, first_s * 2 ** (tried - 1)) * (0.5 + 0.5 * jitter())
    return own_s if asked_s is None else asked_s


def seconds_asked_for(retry_after: str | None, now: datetime) -> float | None:
    """A Retry-After header in seconds: a whole number or a date.

    >>> seconds_asked_for("Wed, 21 Oct 2015 07:28:30 GMT", datetime(2015, 10, 21, 7, 28, tzinfo=UTC))
    30.0
    >>> moment = datetime(2015, 10, 21, tzinfo=UTC)
    >>> seconds_asked_for("7", moment), seconds_asked_for("soon", moment)
    (7.0, None)
    """
    if retry_after is None:
        return None
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:  # neither: as if it had not been sent
        return None
    return max(0.0, (moment.astimezone(UTC) - now).total_seconds())


def say_shortly(error: Exception) -> str:
    """An error in one short line without addresses: they may hold a password."""
    text = re.sub(r"\S+://\S+", "", str(error))
    return f"{type(error).__name__} {' '.join(text.split())[:200]}".strip()
