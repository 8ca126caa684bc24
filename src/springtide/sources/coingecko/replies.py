"""What CoinGecko sends, as rows; times in ms since 1970 UTC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from springtide.domain.errors import BadRows
from springtide.domain.rows import CANDLE_VALUES, KEY, SERIES, TIME
from springtide.sources.candles import CANDLES, PLAIN, check, infer_step

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["NEAR_MS", "candles_from", "prices_from", "volumes_from"]

LISTS = {"market_cap": "market_caps", "total_volume": "total_volumes"}  # our column: CoinGecko's list
LATEST_MS = 10**14  # the year 5138: what is later, or no number, is no time
NEAR_MS = 15 * 60_000  # a price this close to a step counts as the step's


def prices_from(
    body: Any, *, series: str, also: Sequence[str], step_s: int, newest: bool, where: str
) -> tuple[pl.DataFrame, int]:
    """The points of a market chart on their grid.

    Points come seconds or minutes off the step that they are meant for: each goes to the nearest step, and the one
    nearest to a step counts as its price. A point more than `NEAR_MS` away from any step belongs to none.

    Parameters
    ----------
    body
        The reply: lists ``prices``, ``market_caps`` and ``total_volumes`` of ``[ms, value]``.
    series
        The `unique_id`.
    also
        Columns beside `y`: market_cap, total_volume. They may be null; `y` may not.
    step_s
        Seconds from one row to the next.
    newest
        Whether the chart reaches up to now: then its last point is the price at the moment of asking, and left out.
    where
        For errors.

    Returns
    -------
    (rows, left_out)
        ``unique_id, ds, y`` and `also`, sorted and checked; and how many points fell off, the newest aside.

    Raises
    ------
    BadRows
        The reply has another shape, points of another step, or two prices for one moment.
    """
    points = _points(body, "prices", where).rename({"value": "y"})
    for column in also:
        values = _points(body, LISTS[column], where).unique("ms", keep="last").rename({"value": column})
        points = points.join(values, on="ms", how="left", maintain_order="left")
    if newest:
        points = points.head(-1)
    step_ms = step_s * 1000
    at = ((pl.col("ms") + step_ms // 2) // step_ms * step_ms).alias("at")
    placed = points.with_columns(at).with_columns((pl.col("ms") - pl.col("at")).abs().alias("off"))
    kept = placed.drop_nulls("y").filter(pl.col("off") <= NEAR_MS)
    nearest = kept.filter(pl.col("off") == pl.col("off").min().over("at"))
    nearest = nearest.filter(pl.col("ms") == pl.col("ms").min().over("at"))  # of two as near the one known at the step
    rows = nearest.select(pl.lit(series).alias(SERIES), _moment("at").alias(TIME), "y", *also)
    checked = check(rows, where=where, schema=PLAIN)
    infer_step(checked, where=where, step_s=step_s)
    beside = rows.select(*KEY, *also).unique(KEY, keep="last")
    return checked.join(beside, on=KEY, how="left", maintain_order="left"), points.height - kept.height


def candles_from(body: Any, *, series: str, step_s: int, now_ms: int, where: str) -> pl.DataFrame:
    """The closed candles of an ``ohlc`` reply; CoinGecko stamps them with their close, we with their open.

    There is no volume in the reply: the column is 0.

    Raises
    ------
    BadRows
        The reply is no list of ``[ms, open, high, low, close]``, or its stamps are on another grid.
    """
    if not isinstance(body, list) or not all(_is_row(row, 5) for row in body):
        raise _changed("a list of [time, open, high, low, close]", body, where)
    step_ms = step_s * 1000
    if body and body[-1][0] % step_ms:
        body = body[:-1]  # the candle that is still open, stamped with the moment of asking
    closed = [row for row in body if row[0] <= now_ms]
    if off := next((row for row in closed if row[0] % step_ms), None):
        raise BadRows(
            f"a candle is stamped {off[0]} ms, which is not on the grid of {step_s} s",
            where=where,
            do="CoinGecko has changed its candles: update Springtide",
        )
    columns = {TIME: pl.Int64, **dict.fromkeys(CANDLE_VALUES[:4], pl.Float64)}
    frame = pl.DataFrame([[int(row[0]) - step_ms, *row[1:]] for row in closed], schema=columns, orient="row")
    frame = frame.with_columns(_moment(TIME), pl.lit(series).alias(SERIES), pl.lit(0.0).alias("volume"))
    rows = check(frame, where=where, schema=CANDLES, step_s=step_s)
    infer_step(rows, where=where, step_s=step_s)
    return rows


def volumes_from(body: Any, *, step_s: int, where: str) -> pl.DataFrame:
    """The volume of each candle of a day, ``ds, volume``: what was traded in the 24 hours up to its close."""
    points = _points(body, "total_volumes", where).unique("ms", keep="last")
    return points.select(
        (_moment("ms") - pl.duration(seconds=step_s)).alias(TIME), pl.col("value").alias("volume")
    ).drop_nulls()


def _points(body: Any, name: str, where: str) -> pl.DataFrame:
    """One list of a market chart: ms, value."""
    found = body.get(name) if isinstance(body, dict) else None
    if not isinstance(found, list) or not all(_is_row(row, 2) for row in found):
        raise _changed(f"a list {name!r} of [time, value]", body, where)
    return pl.DataFrame(
        [[int(row[0]), row[1]] for row in found], schema={"ms": pl.Int64, "value": pl.Float64}, orient="row"
    )


def _is_row(row: Any, width: int) -> bool:
    """A time and numbers; a number may be missing."""
    if not isinstance(row, list) or len(row) != width or not all(isinstance(v, int | float | None) for v in row):
        return False
    return row[0] is not None and 0 <= row[0] < LATEST_MS


def _moment(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.Datetime("ms")).dt.replace_time_zone("UTC").dt.cast_time_unit("us")


def _changed(wanted: str, body: Any, where: str) -> BadRows:
    found = f"an object of {', '.join(sorted(body)) or 'nothing'}" if isinstance(body, dict) else str(body)
    return BadRows(
        f"the reply is not {wanted}, but {found[:200]}",
        where=where,
        do="CoinGecko has changed its replies: update Springtide",
    )
