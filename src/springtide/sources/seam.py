"""What every source is to the caller: batches of checked rows, each with the marks that say how far it came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import polars as pl

    from springtide.domain.rows import Gap

__all__ = ["Batch", "Source"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Checked rows and the marks to store with them, both in one commit.

    A batch may be empty: then only its marks and its note matter.
    """

    rows: pl.DataFrame
    marks: Mapping[str, int]
    gaps: tuple[Gap, ...] = ()  # steps the source does not have
    note: str = ""  # for people: what was recognised, what was left out
    done: float = 1.0  # share of the whole work so far, 0 to 1


class Source(Protocol):
    """Where rows come from; stopped anywhere, it goes on after the last batch whose marks were stored."""

    name: str

    def step_s(self) -> int | None:
        """Seconds between two rows of a series, once known: from the settings, or after the first batch."""

    def batches(self, mark: Callable[[str], int | None]) -> Iterator[Batch]:
        """Yield what is new; `mark` reads a watermark stored with the table, None when there is none."""
