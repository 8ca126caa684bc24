"""Who served before whom: the journal read as a pile of champions. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from springtide.domain.model import JournalEntry

__all__ = ["champions"]


def champions(entries: Iterable[JournalEntry]) -> list[int]:
    """Versions in the order in which they came to serve, the present champion last.

    A promotion puts a version on the pile; a rollback takes versions off until the one that it went to lies on top.
    So a second rollback goes further back, not forth again.

    Parameters
    ----------
    entries
        The journal of one model, oldest first.
    """
    pile: list[int] = []
    for entry in entries:
        if entry.action == "promote":
            pile.append(entry.version)
        elif entry.action == "rollback":
            while pile[-1] != entry.version:
                pile.pop()
    return pile
