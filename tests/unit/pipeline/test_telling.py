"""What a run tells: written in batches, soon, in its order, and never without end."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from springtide.domain.errors import NotReady
from springtide.pipeline.telling import FIRST, MANY, MOST, Telling

if TYPE_CHECKING:
    from collections.abc import Sequence

NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)


class Store:
    """Keeps every transaction, while it is there."""

    def __init__(self) -> None:
        self.transactions: list[list[tuple[str, Any, datetime]]] = []
        self.away = False

    def __call__(self, told: Sequence[tuple[str, Any, datetime]]) -> None:
        if self.away:
            raise NotReady("the database does not answer", where="here", do="wait")
        self.transactions.append(list(told))

    @property
    def lines(self) -> list[str]:
        return [body["line"] for told in self.transactions for kind, body, _ in told if kind == "log"]


def say(telling: Telling, *numbers: int) -> None:
    for number in numbers:
        telling("log", {"level": "info", "line": str(number)})


def wait_for_lines(store: Store, lines: list[str]) -> None:
    deadline = time.monotonic() + 0.5
    while store.lines != lines:
        assert time.monotonic() < deadline, store.lines
        time.sleep(0.01)


def test_a_line_is_written_within_half_a_second_though_no_other_follows() -> None:
    store = Store()
    say(Telling(store, now=lambda: NOON), 1, 2)
    assert store.lines == []
    wait_for_lines(store, ["1", "2"])
    assert store.transactions == [[("log", {"level": "info", "line": line}, NOON) for line in ("1", "2")]]


def test_many_lines_are_few_transactions_in_the_order_in_which_they_came() -> None:
    store = Store()
    with Telling(store) as telling:
        say(telling, *range(9000))
    assert store.lines == [str(number) for number in range(9000)]
    assert len(store.transactions) <= 9000 / MANY + 20  # and one for each quarter of a second


def test_of_too_many_lines_the_first_are_kept_and_the_last_and_it_is_said_how_many_are_not() -> None:
    store = Store()
    with Telling(store) as telling:
        say(telling, *range(100_000))
    assert len(store.lines) <= MOST + 2
    assert store.lines[:FIRST] == [str(number) for number in range(FIRST)]
    assert store.lines[FIRST] == "from here on only the last lines are kept; they follow at the end"
    assert store.lines[FIRST + 1] == "85,000 lines are left out here"
    assert store.lines[FIRST + 2 :] == [str(number) for number in range(95_000, 100_000)]


def test_whatever_comes_to_its_end_later_has_last_lines_too() -> None:
    store = Store()
    with Telling(store) as telling:
        for cell in range(8):
            say(telling, *range(30_000))
            say(telling, -cell)
            telling.flush()
            assert store.lines[-1] == str(-cell)
    assert sum(not line.endswith(("here", "end")) for line in store.lines) <= MOST


def test_what_earlier_processes_have_stored_counts() -> None:
    store = Store()
    with Telling(store, stored={"log": MOST - 10}) as telling:
        say(telling, *range(1000))
    assert store.lines[-5:] == ["995", "996", "997", "998", "999"]
    assert len(store.lines) == 7


def test_reports_are_kept_though_lines_are_too_many() -> None:
    store = Store()
    with Telling(store) as telling:
        say(telling, *range(30_000))
        telling("report", {"epoch": 3})
        wait_until_reported(store)


def wait_until_reported(store: Store) -> None:
    deadline = time.monotonic() + 0.5
    while ("report", {"epoch": 3}) not in [event[:2] for told in store.transactions for event in told]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_while_the_database_is_away_lines_wait_and_whoever_ends_is_told() -> None:
    store = Store()
    store.away = True
    telling = Telling(store, patience_s=0)
    say(telling, 1)
    time.sleep(0.4)
    with pytest.raises(NotReady):
        telling.flush()
    say(telling, 2)
    store.away = False
    wait_for_lines(store, ["1", "2"])


def test_however_much_is_told_while_the_database_is_away_nobody_is_disturbed_and_the_first_and_last_are_kept() -> None:
    store = Store()
    store.away = True
    telling = Telling(store)
    say(telling, *range(100_000))
    telling.settle()
    assert store.lines == []
    store.away = False
    telling.flush()
    assert store.lines[:FIRST] == [str(number) for number in range(FIRST)]
    assert store.lines[-1] == "99999"
    assert len(store.lines) <= MOST + 2


def test_a_database_that_is_away_for_a_moment_costs_the_end_of_a_step_no_more_than_that_moment() -> None:
    store = Store()
    store.away = True
    telling = Telling(store)
    say(telling, 1)
    threading.Timer(0.6, lambda: setattr(store, "away", False)).start()
    telling.flush()
    assert store.lines == ["1"]


def test_a_run_that_is_over_does_not_wait_for_the_database() -> None:
    store = Store()
    store.away = True
    with Telling(store) as telling:
        say(telling, 1)
    store.away = False
    time.sleep(0.4)
    assert store.lines == []
