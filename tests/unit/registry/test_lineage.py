"""The pile of champions against a linked list of who replaced whom."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from springtide.domain.model import JournalEntry
from springtide.registry.lineage import champions


@dataclass
class Reign:
    """One time on the throne, and the reign that it ended."""

    version: int
    before: Reign | None


def line(action: Literal["promote", "keep", "rollback"], version: int) -> JournalEntry:
    return JournalEntry("btc", 1, datetime(2026, 3, 1, tzinfo=UTC), action, version, None, None, None, "ann", "-")


def reigns_of(reign: Reign | None) -> list[int]:
    return [] if reign is None else [*reigns_of(reign.before), reign.version]


@given(st.lists(st.tuples(st.sampled_from(["promote", "keep", "back"]), st.integers(1, 4))))
def test_the_pile_is_the_chain_of_reigns_that_were_not_undone(moves: list[tuple[str, int]]) -> None:
    entries: list[JournalEntry] = []
    now: Reign | None = None
    for move, version in moves:
        if move == "keep":
            entries.append(line("keep", version))
        elif move == "promote" and (now is None or now.version != version):
            now = Reign(version, before=now)
            entries.append(line("promote", version))
        elif move == "back" and now is not None and now.before is not None:
            now = now.before
            entries.append(line("rollback", now.version))
    assert champions(entries) == reigns_of(now)


def test_a_rollback_may_pass_over_several_champions() -> None:
    assert champions([line("promote", n) for n in (1, 2, 3)] + [line("rollback", 1)]) == [1]
