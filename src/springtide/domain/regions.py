"""Batches of rows that regions send: what came of each, and what is known of a region."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from springtide.domain.errors import SettingsError

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["Receipt", "RegionFacts", "RejectedRow", "check_batch", "check_region", "name_of_content"]

_NAME = re.compile(r"[^\s/\x00-\x1f\x7f-\x9f](?:[^/\x00-\x1f\x7f-\x9f]{0,98}[^\s/\x00-\x1f\x7f-\x9f])?")
_BATCH = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,200}")


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that was not taken; `row` counts the rows of the batch from 1, None: the whole batch was refused.

    `cells` is the row as it was sent, as JSON, cut to a bounded length.
    """

    region: str
    batch: str
    row: int | None
    at: datetime
    reason: str
    cells: str = ""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What came of one batch; the same whenever it is sent again, but for `repeated`.

    `rows` were sent: `new` ones, ones that `corrected` a known row, `unchanged` ones that said nothing new, and
    `rejected` ones. `version` is that of the table, `first` and `last` are the times of the rows that were taken.
    """

    table: str
    region: str
    batch: str
    sha256: str
    at: datetime
    version: int
    rows: int
    new: int
    corrected: int
    unchanged: int
    rejected: int
    first: datetime
    last: datetime
    repeated: bool = False
    reasons: tuple[RejectedRow, ...] = ()  # of the first rows that were rejected just now


@dataclass(frozen=True, slots=True)
class RegionFacts:
    """What has come from one region; all counts are 0 and all times None where nothing has.

    `batches` were taken, `repeated` is how often one of them came again, `refused` how often a whole batch was not
    taken. `rows` are in the table. `arrived` is when something last came, of whatever kind, `newest` the newest row's time.
    """

    region: str
    batches: int = 0
    repeated: int = 0
    refused: int = 0
    rows: int = 0
    corrected: int = 0
    unchanged: int = 0
    rejected: int = 0
    arrived: datetime | None = None
    newest: datetime | None = None


def check_region(name: str) -> str:
    """Refuse what cannot name a region: it begins the name of its series, before a slash.

    >>> check_region("Altayskiy kray")
    'Altayskiy kray'
    """
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"{name[:120]!r} is not a name of a region",
            where="a region",
            do="use up to 100 letters, digits and signs, no / and no space at its ends",
        )
    return name


def name_of_content(data: bytes) -> str:
    """The name of a batch that its sender gave none, whichever way it comes: the same bytes are the same batch.

    >>> name_of_content(b"")[:20]
    'sha256:e3b0c44298fc1'
    """
    return f"sha256:{sha256(data).hexdigest()}"


def check_batch(name: str) -> str:
    """Refuse what cannot name a batch."""
    if not _BATCH.fullmatch(name):
        raise SettingsError(
            f"{name[:220]!r} is not a name of a batch", where="a batch", do="use up to 200 letters, digits and signs"
        )
    return name
