"""How many calls a service allows in a month or a day; the book of them outlives the process."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, Protocol

from springtide.domain.errors import CallsUsedUp

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CallBudget", "CallLedger"]


class CallLedger(Protocol):
    """The book of calls, one for all processes."""

    def spend_call(self, provider: str, period: str, *, limit: int) -> int | None:
        """Count one call for good, before it is sent; the calls left, or None, and nothing counted, if none was left."""


@dataclass(frozen=True, slots=True)
class CallBudget:
    """The calls that one account may make in a calendar month or day, UTC.

    Parameters
    ----------
    ledger
        Where calls are counted.
    provider
        Whose calls they are; sources with the same provider share them.
    limit
        Calls in one period.
    per
        The period.
    setting
        The key that holds `limit`, for the error.
    now
        The clock.
    """

    ledger: CallLedger
    provider: str
    limit: int
    per: Literal["month", "day"]
    setting: str
    now: Callable[[], datetime]

    def spend(self) -> int:
        """Count one call before it is sent, a repeated one too; the calls left.

        Raises
        ------
        CallsUsedUp
            No call is left in this period; nothing may be sent.
        """
        period, end = _period(self.now().astimezone(UTC), self.per)
        left = self.ledger.spend_call(self.provider, period, limit=self.limit)
        if left is None:
            raise CallsUsedUp(
                f"no call to {self.provider} is left of the {self.limit:,} of {period}",
                where=self.setting,
                do=f"run it again after {end:%Y-%m-%d %H:%M} UTC: what came is stored, and it goes on where it stopped; "
                f"or raise {self.setting}, if the plan allows more",
            )
        return left


def _period(moment: datetime, per: Literal["month", "day"]) -> tuple[str, datetime]:
    """The name of the period that holds a moment, and when the next one begins.

    >>> [(name, f"{end:%Y-%m-%d}") for name, end in (_period(datetime(2024, 12, 5), per) for per in ("month", "day"))]
    [('2024-12', '2025-01-01'), ('2024-12-05', '2024-12-06')]
    """
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if per == "day":
        return f"{moment:%Y-%m-%d}", midnight + timedelta(days=1)
    return f"{moment:%Y-%m}", (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
