"""Rows as people send them with a request, checked value by value, as columns for a codec."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from springtide.domain.errors import BadRows
from springtide.domain.rows import SERIES, TIME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["columns_of_request"]

_MILLISECONDS = 100_000_000_000  # epoch seconds reach this in the year 5138, epoch milliseconds did in 1973


def columns_of_request(
    rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]], *, where: str
) -> dict[str, NDArray[Any]]:
    """Rows as a codec takes them; every value of every row is looked at."""
    columns = _turned(rows, where)
    for name in (SERIES, TIME):
        if name not in columns:
            raise BadRows(f"no column {name!r}", where=where, do=f"send {SERIES}, {TIME} and the values")
    sizes = {name: len(values) for name, values in columns.items()}
    if len(set(sizes.values())) > 1:
        raise BadRows(f"columns of different lengths: {sizes}", where=where, do="send one value per row and column")
    if not sizes[TIME]:
        raise BadRows("no rows", where=where, do="send at least as many rows as the model's window")
    arrays: dict[str, NDArray[Any]] = {
        SERIES: np.array([_text(value, row, where) for row, value in enumerate(columns[SERIES], 1)], dtype=np.str_),
        TIME: np.array([_seconds(value, row, where) for row, value in enumerate(columns[TIME], 1)], dtype=np.int64),
    }
    for name, values in columns.items():
        if name not in arrays:
            numbers = [_number(value, name, row, where) for row, value in enumerate(values, 1)]
            arrays[name] = np.array(numbers, dtype=np.float64)
    return arrays


def _turned(rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]], where: str) -> Mapping[str, Sequence[Any]]:
    """Records as columns; all records have the names of the first."""
    if isinstance(rows, Mapping):
        return rows
    names = list(rows[0]) if rows else [SERIES, TIME]
    for row, record in enumerate(rows, 1):
        if record.keys() != set(names):
            odd = sorted(record.keys() ^ set(names))
            raise BadRows(
                f"row {row} and row 1 do not have the same columns: {odd}", where=where, do="send the same in every row"
            )
    return {name: [record[name] for record in rows] for name in names}


def _text(value: Any, row: int, where: str) -> str:
    if not isinstance(value, str):
        raise BadRows(f"row {row}: {SERIES} is {value!r}", where=where, do="send a name: BTC/USDT")
    return value


def _number(value: Any, name: str, row: int, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRows(f"row {row}: {name} is {value!r:.80}", where=where, do="send a number")
    try:
        return float(value)
    except OverflowError as error:
        raise BadRows(f"row {row}: {name} is too large a number", where=where, do="send a smaller one") from error


def _seconds(value: Any, row: int, where: str) -> int:
    """Seconds since 1970 UTC of a time as people send it."""
    moment = value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
    if isinstance(moment, datetime) and moment.tzinfo is not None:
        moment = moment.timestamp()
    whole = isinstance(moment, int | float) and not isinstance(moment, bool) and moment == moment // 1
    if not whole or abs(moment) >= _MILLISECONDS:
        raise BadRows(
            f"row {row}: {TIME} is {value!r}",
            where=where,
            do="send a time with its zone, 2024-01-31T13:00:00Z, or whole seconds since 1970 UTC",
        )
    return int(moment)
