"""Rows of a table as they come with a request, read as training read its table: what a cell means is said in one place."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from springtide.domain.errors import BadRows
from springtide.sources.files.meaning import BLANKS, MISSING, YEARS, numbers_of, said, times_of, with_points
from springtide.trainers.labels import level

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

__all__ = ["Asked", "read_cells"]

_GAP = np.datetime64("NaT")
_DO = {
    "number": "send a number, or null",
    "date": f"write it as 2026-01-31, 2026-01-31T12:00:00Z or 31.01.2026, in the years {YEARS[0]} to {YEARS[1]}; or null",
    "category": "send a text, a number, true, false, or null",
}
_NOUNS = {"number": "number", "date": "time", "category": "text"}


class Asked:
    """Rows as records, or as columns of one length.

    Raises
    ------
    BadRows
        If there are none, or the columns have several lengths.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]], *, where: str) -> None:
        self.where = where
        self._rows = rows
        if isinstance(rows, Mapping):
            sizes = {name: len(values) for name, values in rows.items()}
            if len(set(sizes.values())) > 1:
                raise BadRows(
                    f"columns of different lengths: {sizes!s:.200}", where=where, do="send one value per row and column"
                )
            self._count = next(iter(sizes.values()), 0)
        else:
            self._count = len(rows)
        if not self._count:
            raise BadRows("no rows", where=where, do="send at least one")

    def __len__(self) -> int:
        return self._count

    def check_columns(self, names: Iterable[str]) -> None:
        """Raise `BadRows` where a column is in no row at all."""
        known = self._rows.keys() if isinstance(self._rows, Mapping) else set().union(*self._rows)
        for name in names:
            if name not in known:
                raise BadRows(
                    f"no column {name!r}", where=self.where, do="send the columns that the model has learned from"
                )

    def column(self, name: str, kind: str, part: slice) -> NDArray[Any]:
        """Some rows of a column; a value that is not there is a gap."""
        if isinstance(self._rows, Mapping):
            cells: Sequence[Any] = self._rows[name][part]
        else:
            cells = [row.get(name) for row in self._rows[part]]
        return read_cells(cells, name, kind, where=self.where, first=part.start + 1)


def read_cells(cells: Sequence[Any], name: str, kind: str, *, where: str, first: int = 1) -> NDArray[Any]:
    """Cells as training knows a column of that kind: float64 with NaN, datetime64[us] with NaT, or levels with None.

    Raises
    ------
    BadRows
        If a cell is something else; `first` is the number of the first row.
    """
    match kind:
        case "number":
            read = _numbers(cells)
        case "date":
            read = _times(cells)
        case _:
            read = [_level(cell) for cell in cells]
    for row, (cell, value) in enumerate(zip(cells, read, strict=True), first):
        if value is _Odd:
            raise BadRows(
                f"row {row}: column {name!r} holds {_shown(cell)}, which is no {_NOUNS[kind]}",
                where=where,
                do=_DO[kind],
            )
    dtype = {"number": "float64", "date": "datetime64[us]"}.get(kind, "object")
    return np.array(read, dtype=dtype)


class _Odd:
    """Stands where a cell is not what its column holds."""


def _numbers(cells: Sequence[Any]) -> list[Any]:
    texts = _texts(cells, lambda text: numbers_of(with_points(text)), np.nan)
    return [texts[at] if isinstance(cell, str) else _number(cell) for at, cell in enumerate(cells)]


def _number(cell: Any) -> Any:
    """A number or a truth as a float; one that is infinite is a missing one, as in training."""
    if cell is None:
        return np.nan
    if not isinstance(cell, (bool, int, float)):
        return _Odd
    try:
        number = float(cell)
    except OverflowError:
        return _Odd
    return number if np.isfinite(number) else np.nan


def _times(cells: Sequence[Any]) -> list[Any]:
    """Texts alone: nobody knows the unit of a bare number."""
    written = [cell.isoformat() if isinstance(cell, date) else cell for cell in cells]
    texts = _texts(written, times_of, _GAP)
    return [_GAP if cell is None else texts[at] if isinstance(cell, str) else _Odd for at, cell in enumerate(written)]


def _level(cell: Any) -> Any:
    if cell is None or cell != cell:  # noqa: PLR0124 - not a number
        return None
    if isinstance(cell, str):
        bare = cell.strip(BLANKS)
        return None if bare in MISSING else level(bare)
    return level(cell) if isinstance(cell, (bool, int, float)) else _Odd


def _texts(cells: Sequence[Any], read: Callable[[pl.Series], pl.Series], gap: Any) -> Sequence[Any]:
    """What the texts among the cells say, at their places."""
    if not any(isinstance(cell, str) for cell in cells):
        return ()
    bare = said(pl.Series([cell if isinstance(cell, str) else None for cell in cells], dtype=pl.String))
    return [
        gap if text is None else _Odd if value is None else value for text, value in zip(bare, read(bare), strict=True)
    ]


def _shown(cell: Any) -> str:
    """A cell as it stands in an error."""
    if isinstance(cell, (list, dict)):
        return "a list" if isinstance(cell, list) else "an object"
    huge = isinstance(cell, int) and abs(cell) > 1 << 64
    return "a number that is too large" if huge else f"{cell!r:.80}"
