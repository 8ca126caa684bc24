from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Literal

import pytest

from springtide.domain.errors import CallsUsedUp
from springtide.sources.budget import CallBudget


class Book:
    """A ledger that forgets everything at exit, and knows which periods it was asked for."""

    def __init__(self) -> None:
        self.spent: dict[tuple[str, str], int] = {}

    def spend_call(self, provider: str, period: str, *, limit: int) -> int | None:
        spent = self.spent.get((provider, period), 0)
        if spent >= limit:
            return None
        self.spent[provider, period] = spent + 1
        return limit - spent - 1


def a_budget(book: Book, moment: datetime, per: Literal["month", "day"] = "month", limit: int = 1) -> CallBudget:
    return CallBudget(book, provider="Infura", limit=limit, per=per, setting="calls_per_day", now=lambda: moment)


@pytest.mark.parametrize(
    ("per", "period", "begins_anew"),
    [("month", "2024-12", "2025-01-01 00:00 UTC"), ("day", "2024-12-31", "2025-01-01 00:00 UTC")],
)
def test_a_used_up_budget_says_whose_it_is_when_it_begins_anew_and_what_to_raise(
    per: Literal["month", "day"], period: str, begins_anew: str
) -> None:
    budget = a_budget(Book(), datetime(2024, 12, 31, 23, 59, tzinfo=UTC), per)
    assert budget.spend() == 0
    with pytest.raises(CallsUsedUp) as refused:
        budget.spend()
    assert refused.value.what == f"no call to Infura is left of the 1 of {period}"
    assert begins_anew in refused.value.do
    assert "raise calls_per_day" in refused.value.do


def test_the_period_is_that_of_utc_wherever_the_clock_hangs() -> None:
    book = Book()
    local = datetime(2024, 4, 1, 1, 30, tzinfo=timezone(timedelta(hours=5)))
    a_budget(book, local).spend()
    assert list(book.spent) == [("Infura", "2024-03")]


def test_a_new_day_is_a_new_budget() -> None:
    book = Book()
    evening = datetime(2024, 2, 29, 23, tzinfo=UTC)
    a_budget(book, evening, "day").spend()
    assert a_budget(book, evening + timedelta(hours=1), "day").spend() == 0
