"""How rows are named: the field's own column names, and the words for spans and gaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

__all__ = [
    "CANDLE_VALUES",
    "KEY",
    "PLAIN_VALUES",
    "REGION",
    "SERIES",
    "TIME",
    "Filter",
    "Gap",
    "SeriesFacts",
    "Snapshot",
]

SERIES = "unique_id"  # "BTC/USDT"
TIME = "ds"  # UTC; for candles the open time
KEY = (SERIES, TIME)
REGION = "region"  # who sent the row, in tables that many senders write
CANDLE_VALUES = ("open", "high", "low", "close", "volume")
PLAIN_VALUES = ("y",)


@dataclass(frozen=True, slots=True)
class Gap:
    """Steps of one series that are missing, both ends included."""

    series: str
    first: datetime
    last: datetime
    steps: int


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """What a table holds of one series."""

    series: str
    rows: int
    first: datetime
    last: datetime
    gaps: tuple[Gap, ...]
    duplicates: int


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows of a table: some series (all when empty), from `start` (included) to `end` (excluded)."""

    series: tuple[str, ...] = ()
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a run learned from: the same snapshot always gives the same rows.

    `sha256` is over every value of every row, so that one corrected candle anywhere changes it.
    """

    table: str
    version: int
    filter: Filter
    rows: int
    sha256: str
    first: datetime
    last: datetime
