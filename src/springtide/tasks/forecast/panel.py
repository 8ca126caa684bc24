"""Many series on one regular grid, as arrays: the form in which training and judging read history."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
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
    logarithmic : bool
        Whether changes are ratios: always for candles.
    level : (rows,) float64
        The scale on which changes are added up: log(close), y itself, or log(y).
    owner : (rows,) int64
        The index of the series that each row belongs to.
    """

    series: tuple[str, ...]
    kind: Literal["candles", "plain"]
    step_s: int
    bounds: NDArray[np.int64]
    seconds: NDArray[np.int64]
    values: NDArray[np.float64]
    filled: NDArray[np.bool_]
    market: NDArray[np.float64]
    logarithmic: bool
    level: NDArray[np.float64] = field(init=False)
    owner: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "level", np.log(self.target) if self.logarithmic else self.target.copy())
        object.__setattr__(self, "owner", np.repeat(np.arange(len(self.series)), np.diff(self.bounds)))

    @property
    def target(self) -> NDArray[np.float64]:
        """(rows,) float64: close, or y."""
        return self.values[:, 3] if self.kind == "candles" else self.values[:, 0]


def build_panel(rows: pl.LazyFrame, *, step_s: int | None = None, logarithmic: bool = False) -> Panel:
    """Put rows on their grid.

    Parameters
    ----------
    rows : LazyFrame
        ``unique_id, ds`` and candle columns or ``y``.
    step_s : int, optional
        Seconds between two rows; the most common distance when not given.
    logarithmic : bool
        Whether a plain series is learned on the scale of its logarithm, as candles always are.

    Raises
    ------
    BadRows
        If there is nothing to learn from: no rows, no known value columns, values that are no numbers, prices (or
        values whose logarithm is asked for) that are not positive, or times off the grid.
    """
    names = rows.collect_schema().names()
    kind: Literal["candles", "plain"] = "candles" if set(CANDLE_VALUES) <= set(names) else "plain"
    channels = CANDLE_VALUES if kind == "candles" else PLAIN_VALUES
    if missing := [name for name in channels if name not in names]:
        raise BadRows(f"no column {missing[0]!r}", where=f"columns {names}", do="bring candles, or unique_id, ds, y")
    frame = rows.select(SERIES, pl.col(TIME).dt.epoch("s").alias(TIME), *channels).sort(SERIES, TIME).collect()
    if frame.height < 2:
        raise BadRows("there are no rows to learn from", where=f"{frame.height} rows", do="ingest rows first")
    step_s = _step(frame) if step_s is None else step_s
    _check(frame, kind, channels, step_s, logarithmic=logarithmic)
    parts = [
        on_grid(part[TIME].to_numpy(), part.select(channels).to_numpy().astype(np.float64), step_s=step_s)
        for part in frame.partition_by(SERIES, maintain_order=True)
    ]
    seconds = np.concatenate([part[0] for part in parts])
    values = np.concatenate([part[1] for part in parts])
    bounds = np.concatenate([[0], np.cumsum([len(part[0]) for part in parts])]).astype(np.int64)
    filled = np.concatenate([part[2] for part in parts])
    market = market_of(seconds, values[:, 3], filled, bounds) if kind == "candles" else np.zeros(len(seconds))
    return Panel(
        series=tuple(frame[SERIES].unique(maintain_order=True).to_list()),
        kind=kind,
        step_s=step_s,
        bounds=bounds,
        seconds=seconds,
        values=values,
        filled=filled,
        market=market,
        logarithmic=logarithmic or kind == "candles",
    )


def _step(frame: pl.DataFrame) -> int:
    """The most common distance of two rows of a series, in seconds."""
    distances = frame.select(pl.col(TIME).diff().over(SERIES)).drop_nulls().to_series()
    distances = distances.filter(distances > 0)
    if distances.is_empty():
        raise BadRows("every series has one row only", where="the table's rows", do="ingest more history")
    values, counts = np.unique(distances.to_numpy(), return_counts=True)
    return int(values[np.argmax(counts)])


def _check(frame: pl.DataFrame, kind: str, channels: tuple[str, ...], step_s: int, *, logarithmic: bool) -> None:
    """Refuse the first row that no model should learn from."""
    wrong = ~pl.all_horizontal(pl.col(channels).cast(pl.Float64).is_finite().fill_null(value=False))
    if kind == "candles":
        wrong |= pl.any_horizontal(pl.col("open", "high", "low", "close") <= 0) | (pl.col("volume") < 0)
    elif logarithmic:
        wrong |= pl.col(channels) <= 0
    off_grid = (pl.col(TIME) - pl.col(TIME).first().over(SERIES)) % step_s != 0
    for condition, what in (
        (
            wrong,
            "values that are not positive numbers"
            if logarithmic or kind == "candles"
            else "values that are not numbers",
        ),
        (off_grid, f"a time off the grid of {step_s} s"),
    ):
        bad = frame.filter(condition)
        if bad.height:
            first = bad.row(0, named=True)
            moment = datetime.fromtimestamp(first[TIME], tz=UTC)
            raise BadRows(
                f"{bad.height} rows with {what} (first: {moment:%Y-%m-%d %H:%M}, {[first[name] for name in channels]})",
                where=f"series {first[SERIES]}",
                do="correct the rows and ingest them again",
            )
