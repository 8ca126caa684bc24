"""Many series on one regular grid, as arrays: the form in which training and judging read history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from springtide.domain.errors import BadRows
from springtide.domain.rows import CANDLE_VALUES, PLAIN_VALUES, SERIES, TIME
from springtide.tasks.forecast.grid import market_of, on_grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Panel", "build_panel"]


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """Series after series in one contiguous array; missing steps are filled and marked.

    Attributes
    ----------
    series : (s,) tuple of str
        unique_ids.
    kind : str
        ``candles`` (open, high, low, close, volume) or ``plain`` (y).
    step_s : int
        Seconds between two rows.
    bounds : (s + 1,) int64
        Series ``i`` has the rows ``bounds[i]:bounds[i + 1]``.
    seconds : (rows,) int64
        Time of each row, seconds since 1970 UTC.
    values : (rows, channels) float64
        Raw values. A missing candle repeats the last close with volume 0.
    filled : (rows,) bool
        True where the row was missing.
    market : (rows,) float64
        Mean absolute log-return of all series at that time (0 for plain series).
    """

    series: tuple[str, ...]
    kind: Literal["candles", "plain"]
    step_s: int
    bounds: NDArray[np.int64]
    seconds: NDArray[np.int64]
    values: NDArray[np.float64]
    filled: NDArray[np.bool_]
    market: NDArray[np.float64]

    @property
    def target(self) -> NDArray[np.float64]:
        """(rows,) float64: close, or y."""
        return self.values[:, 3] if self.kind == "candles" else self.values[:, 0]

    @property
    def level(self) -> NDArray[np.float64]:
        """(rows,) float64: the scale on which changes are added up: log(close), or y itself."""
        return np.log(self.target) if self.kind == "candles" else self.target

    @property
    def owner(self) -> NDArray[np.int64]:
        """(rows,) int64: the index of the series that each row belongs to."""
        return np.repeat(np.arange(len(self.series)), np.diff(self.bounds))


def build_panel(rows: pl.LazyFrame) -> Panel:
    """Put rows on their grid.

    Parameters
    ----------
    rows : LazyFrame
        ``unique_id, ds`` and candle columns or ``y``.

    Raises
    ------
    BadRows
        If there is nothing to learn from: no rows, or no known value columns.
    """
    names = rows.collect_schema().names()
    kind: Literal["candles", "plain"] = "candles" if set(CANDLE_VALUES) <= set(names) else "plain"
    channels = CANDLE_VALUES if kind == "candles" else PLAIN_VALUES
    if missing := [name for name in channels if name not in names]:
        raise BadRows(f"no column {missing[0]!r}", where=f"columns {names}", do="bring candles, or unique_id, ds, y")
    frame = rows.select(SERIES, pl.col(TIME).dt.epoch("s").alias(TIME), *channels).sort(SERIES, TIME).collect()
    if frame.height < 2:
        raise BadRows("there are no rows to learn from", where=f"{frame.height} rows", do="ingest rows first")
    step_s = _step(frame)
    parts = [
        on_grid(part[TIME].to_numpy(), part.select(channels).to_numpy().astype(np.float64), step_s=step_s)
        for part in frame.partition_by(SERIES, maintain_order=True)
    ]
    seconds = np.concatenate([part[0] for part in parts])
    values = np.concatenate([part[1] for part in parts])
    bounds = np.concatenate([[0], np.cumsum([len(part[0]) for part in parts])]).astype(np.int64)
    market = market_of(seconds, values[:, 3], bounds) if kind == "candles" else np.zeros(len(seconds))
    return Panel(
        series=tuple(frame[SERIES].unique(maintain_order=True).to_list()),
        kind=kind,
        step_s=step_s,
        bounds=bounds,
        seconds=seconds,
        values=values,
        filled=np.concatenate([part[2] for part in parts]),
        market=market,
    )


def _step(frame: pl.DataFrame) -> int:
    """The most common distance of two rows of a series, in seconds."""
    distances = frame.select(pl.col(TIME).diff().over(SERIES)).drop_nulls().to_series()
    distances = distances.filter(distances > 0)
    if distances.is_empty():
        raise BadRows("every series has one row only", where="the table's rows", do="ingest more history")
    values, counts = np.unique(distances.to_numpy(), return_counts=True)
    return int(values[np.argmax(counts)])
