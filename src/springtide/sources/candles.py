"""Candles and plain series as rows: their schemas, and the checks every row passes before it is stored."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl

from springtide.domain.errors import BadRows
from springtide.domain.rows import CANDLE_VALUES, KEY, PLAIN_VALUES, SERIES, TIME, Gap
from springtide.domain.units import format_span

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["CANDLES", "LINE", "PLAIN", "check", "find_gaps", "infer_step"]

UTC_TIME = pl.Datetime("us", "UTC")
_KEY_TYPES: dict[str, pl.DataType] = {SERIES: pl.String(), TIME: UTC_TIME}
CANDLES = pl.Schema(_KEY_TYPES | dict.fromkeys(CANDLE_VALUES, pl.Float64()))
PLAIN = pl.Schema(_KEY_TYPES | dict.fromkeys(PLAIN_VALUES, pl.Float64()))
LINE = "line"  # an extra column with the line of the file that each row came from; only errors read it

_KINDS = {pl.String(): "names", UTC_TIME: "times", pl.Float64(): "numbers"}
_PRICES = ("open", "high", "low", "close")
_TOLERANCE = 1e-9  # relative: a price that went through float32 or text and back
_SAME_JUMPS = 24  # that many equal jumps in a row are another timeframe, not holes
_US = 1_000_000


def check(
    frame: pl.DataFrame, *, where: str, schema: Mapping[str, pl.DataType] = CANDLES, step_s: int | None = None
) -> pl.DataFrame:
    """Cast, validate and sort rows; rows that come twice with the same values become one.

    Constant prices and missing steps are not errors here.

    Parameters
    ----------
    frame
        The columns of `schema` in any order. Values may be text; `ds` is a datetime, UTC when it names no zone.
        A column ``line`` holds the line of the file each row came from; without it errors count rows from 1.
    where
        The file, exchange or table, for the error.
    schema
        `CANDLES` or `PLAIN`.
    step_s
        Seconds between two rows; when given, every row of a series must be on one grid of that step.

    Raises
    ------
    BadRows
        Naming the first offending row: no number, not finite, a price of zero or less, a negative volume,
        open or close outside low and high, two rows for one time, a time off the grid.

    Examples
    --------
    >>> from datetime import datetime
    >>> rows = pl.DataFrame({"unique_id": "A", "ds": [datetime(2024, 1, 2), datetime(2024, 1, 1)], "y": ["2", "1"]})
    >>> check(rows, where="a test", schema=PLAIN)["y"].to_list()
    [1.0, 2.0]
    """
    _need_columns(frame, schema, where)
    named = frame.select(*schema, LINE) if LINE in frame.columns else frame.select(*schema).with_row_index(LINE, 1)
    word = "line" if LINE in frame.columns else "row"
    rows = named.with_columns(_cast(named.schema, schema))
    problems = _value_problems(named.schema, schema)
    _refuse_first(rows, problems, before=named, where=where, word=word)
    if not _is_sorted(rows):
        rows = rows.sort(KEY, maintain_order=True)
    rows = _drop_doubles(rows, schema, where=where, word=word)
    if step_s is not None:
        _refuse_off_grid(rows, step_s, where=where, word=word)
    return rows.drop(LINE)


def infer_step(rows: pl.DataFrame, *, where: str, step_s: int | None = None) -> int | None:
    """The seconds between two rows: the most common difference, the smaller one of a tie.

    Parameters
    ----------
    rows
        Sorted by `unique_id` and `ds`, as `check` returns them.
    where
        The file, exchange or table, for the error.
    step_s
        The step when it is known; the rows must fit it.

    Returns
    -------
    int or None
        `step_s` if given; None when no series has two rows.

    Raises
    ------
    BadRows
        Mixed timeframes: differences that are not whole multiples of the step, a series of three rows or more
        that are never one step apart, or (when the step is not given) a long stretch of rows with another step.

    Examples
    --------
    >>> from datetime import datetime
    >>> rows = pl.DataFrame({"unique_id": "A", "ds": [datetime(2024, 1, 1, hour) for hour in (0, 1, 2, 5)]})
    >>> infer_step(rows, where="a test")
    3600
    """
    jumps = _jumps(rows)
    if jumps.is_empty():
        return step_s
    step_us = _most_common_jump(jumps, where) if step_s is None else step_s * _US
    problem = _off_step(jumps, step_us) or _other_step(jumps, step_us)
    if problem is None and step_s is None:
        problem = _stretch(jumps, step_us)
    if problem is not None:
        raise BadRows(
            f"mixed timeframes: the step is {_span(step_us)}, but {problem}",
            where=where,
            do="bring each timeframe in as its own source and table",
        )
    return step_us // _US


def find_gaps(rows: pl.DataFrame, step_s: int) -> tuple[Gap, ...]:
    """The steps missing between the first and the last row of each series; `rows` as `check` returns them."""
    step_us = step_s * _US
    holes = _jumps(rows).filter(pl.col("jump") > step_us)
    step = timedelta(seconds=step_s)
    return tuple(
        Gap(series, before + step, after - step, jump // step_us - 1)
        for series, before, after, jump in holes.select(SERIES, "before", TIME, "jump").iter_rows()
    )


# --- one row at a time: values ---------------------------------------------------------------------------------------


def _need_columns(frame: pl.DataFrame, schema: Mapping[str, pl.DataType], where: str) -> None:
    """Refuse a frame without all columns, or with columns of another kind."""
    if missing := [name for name in schema if name not in frame.columns]:
        raise BadRows(
            f"no column {', '.join(missing)}; found: {', '.join(frame.columns)}",
            where=where,
            do='name it in the source\'s columns, our name first: columns = { ds = "date", close = "price" }',
        )
    for name, wanted in schema.items():
        if not _can_become(frame.schema[name], wanted):
            raise BadRows(
                f"column {name} holds {frame.schema[name]}, not {_KINDS[wanted]}",
                where=where,
                do="correct it, or name another column in the source's columns",
            )


def _can_become(found: pl.DataType, wanted: pl.DataType) -> bool:
    """Whether a column of type `found` can be read as `wanted`, whatever its values are."""
    if wanted == UTC_TIME:
        return isinstance(found, pl.Datetime)
    texts = found in (pl.String, pl.Null)
    if wanted == pl.Float64:
        return texts or found.is_numeric()
    return texts or found.is_integer() or isinstance(found, pl.Categorical | pl.Enum)


def _cast(found: Mapping[str, pl.DataType], schema: Mapping[str, pl.DataType]) -> Iterable[pl.Expr]:
    """One expression per column that is not of its type yet; what cannot be cast becomes null."""
    for name, wanted in schema.items():
        have = found[name]
        if have == wanted:
            continue
        column = pl.col(name)
        if isinstance(have, pl.Datetime):
            aware = column.dt.convert_time_zone("UTC") if have.time_zone else column.dt.replace_time_zone("UTC")
            yield aware.dt.cast_time_unit("us")
        elif have == pl.String:
            yield column.str.strip_chars().cast(wanted, strict=False)
        else:
            yield column.cast(wanted, strict=False)


def _value_problems(found: Mapping[str, pl.DataType], schema: Mapping[str, pl.DataType]) -> dict[str, pl.Expr]:
    """What may be wrong inside one row, in words, the most telling first."""
    values = [name for name, kind in schema.items() if kind == pl.Float64]
    problems = {
        f"{SERIES} is empty": pl.col(SERIES).is_null() | (pl.col(SERIES) == ""),
        f"{TIME} is no time": pl.col(TIME).is_null(),
    }
    for name in values:
        problems[f"{name} is no number"] = pl.col(name).is_null()
        problems[f"{name} is not finite"] = ~pl.col(name).is_finite()
    if schema == PLAIN:
        return problems
    for name in _PRICES:
        problems[f"{name} is not above zero"] = pl.col(name) <= 0
    above, below = 1 + _TOLERANCE, 1 - _TOLERANCE
    high, low = pl.col("high"), pl.col("low")
    return problems | {
        "volume is negative": pl.col("volume") < 0,
        "high is below low": high < low * below,
        "open is outside low and high": (pl.col("open") > high * above) | (pl.col("open") < low * below),
        "close is outside low and high": (pl.col("close") > high * above) | (pl.col("close") < low * below),
    }


def _refuse_first(
    rows: pl.DataFrame, problems: Mapping[str, pl.Expr], *, before: pl.DataFrame, where: str, word: str
) -> None:
    """Raise for the first row with a problem; `before` holds the rows as they came, uncast."""
    bad = rows.select(pl.any_horizontal(*problems.values()).arg_true()).to_series()
    if bad.is_empty():
        return
    first = bad[0]
    row = rows.slice(first, 1)
    what = next(words for words, test in problems.items() if row.select(test).item())
    raise BadRows(
        f"{what}: {_show(before.row(first, named=True))}{_and_more(bad.len())}",
        where=f"{where}, {word} {row[LINE][0]}",
        do="correct or remove the row",
    )


# --- two rows at a time: order, doubles, grid ------------------------------------------------------------------------


def _is_sorted(rows: pl.DataFrame) -> bool:
    """Whether each row's key is at or after the key before it."""
    series, time = pl.col(SERIES), pl.col(TIME)
    back = (series < series.shift()) | ((series == series.shift()) & (time < time.shift()))
    return not rows.select(back.any()).item()


def _drop_doubles(rows: pl.DataFrame, schema: Mapping[str, pl.DataType], *, where: str, word: str) -> pl.DataFrame:
    """Keep one of rows with the same key and values; refuse the same key with other values."""
    same_key = (pl.col(SERIES) == pl.col(SERIES).shift()) & (pl.col(TIME) == pl.col(TIME).shift())
    double = rows.select(same_key.fill_null(value=False)).to_series()
    if not double.any():
        return rows
    values = [name for name in schema if name not in KEY]
    differs = pl.any_horizontal(pl.col(name) != pl.col(name).shift() for name in values)
    clash = rows.select(same_key & differs).to_series().arg_true()
    if not clash.is_empty():
        one, other = rows.row(clash[0] - 1, named=True), rows.row(clash[0], named=True)
        raise BadRows(
            f"two rows for {one[SERIES]} at {_time(one[TIME])} with different values: "
            f"{_values(one, values)} and {_values(other, values)}{_and_more(clash.len())}",
            where=f"{where}, {word}s {one[LINE]} and {other[LINE]}",
            do="remove the wrong one",
        )
    return rows.filter(~double)


def _refuse_off_grid(rows: pl.DataFrame, step_s: int, *, where: str, word: str) -> None:
    """Refuse rows that are not a whole number of steps away from most rows of their series."""
    phase = (pl.col(TIME).to_physical() % (step_s * _US)).alias("phase")
    phases = rows.select(SERIES, LINE, TIME, phase)
    if phases.select(pl.struct(SERIES, "phase").n_unique() == pl.col(SERIES).n_unique()).item():
        return
    usual = phases.group_by(SERIES).agg(pl.col("phase").mode().min().alias("usual"))
    off = phases.join(usual, on=SERIES).filter(pl.col("phase") != pl.col("usual")).sort(LINE)
    first = off.row(0, named=True)
    raise BadRows(
        f"{first[SERIES]} at {_time(first[TIME])} is not on the grid of {format_span(timedelta(seconds=step_s))}"
        f"{_and_more(off.height)}",
        where=f"{where}, {word} {first[LINE]}",
        do="bring candles of one timeframe; times are the open times of the candles",
    )


def _jumps(rows: pl.DataFrame) -> pl.DataFrame:
    """From each row to the next of its series: unique_id, before, ds, jump in microseconds."""
    time = pl.col(TIME).dt.cast_time_unit("us")
    return (
        rows.lazy()
        .select(
            SERIES,
            TIME,
            pl.col(TIME).shift().alias("before"),
            time.to_physical().diff().alias("jump"),
            (pl.col(SERIES) == pl.col(SERIES).shift()).alias("same"),
        )
        .filter("same")
        .drop("same")
        .collect()
    )


def _most_common_jump(jumps: pl.DataFrame, where: str) -> int:
    """The most common difference in microseconds, whole seconds; the smaller one of a tie."""
    counts = jumps.group_by("jump").len().sort(["len", "jump"], descending=[True, False])
    step_us: int = counts["jump"][0]
    if step_us % _US:
        raise BadRows(
            f"rows are {step_us / _US} s apart, which is no whole number of seconds",
            where=where,
            do="bring candles of whole seconds, or aggregate ticks to candles first",
        )
    return step_us


def _off_step(jumps: pl.DataFrame, step_us: int) -> str | None:
    """A difference that is not a whole number of steps, in words."""
    off = jumps.filter(pl.col("jump") % step_us != 0)
    if off.is_empty():
        return None
    first = off.row(0, named=True)
    return (
        f"{first[SERIES]} goes {_span(first['jump'])} from {_time(first['before'])} to {_time(first[TIME])}"
        f"{_and_more(off.height)}"
    )


def _other_step(jumps: pl.DataFrame, step_us: int) -> str | None:
    """A series that is never one step apart, in words; fewer than three rows say nothing."""
    per_series = jumps.group_by(SERIES).agg(pl.col("jump").min(), pl.len().alias("jumps")).sort(SERIES)
    other = per_series.filter((pl.col("jump") != step_us) & (pl.col("jumps") >= 2))
    if other.is_empty():
        return None
    return f"rows of {other[SERIES][0]} are {_span(other['jump'][0])} apart"


def _stretch(jumps: pl.DataFrame, step_us: int) -> str | None:
    """A long stretch of equal jumps that are not the step, in words."""
    runs = (
        jumps.with_columns(pl.struct(SERIES, "jump").rle_id().alias("run"))
        .filter(pl.col("jump") != step_us)
        .group_by("run", maintain_order=True)
        .agg(pl.col(SERIES, "jump", "before").first(), pl.len().alias("rows"))
        .filter(pl.col("rows") >= _SAME_JUMPS)
    )
    if runs.is_empty():
        return None
    first = runs.row(0, named=True)
    return f"{first['rows']} rows in a row of {first[SERIES]} are {_span(first['jump'])} apart from {_time(first['before'])}"


# --- words -----------------------------------------------------------------------------------------------------------


def _span(microseconds: int) -> str:
    """A span for people; below a second as a decimal number."""
    if microseconds % _US:
        return f"{microseconds / _US} s"
    return format_span(timedelta(microseconds=microseconds))


def _time(value: object) -> str:
    return str(value).removesuffix("+00:00")


def _show(row: Mapping[str, object]) -> str:
    """A row as it came, short enough for one line of an error."""
    return ", ".join(f"{name}={str(value)[:40]!r}" for name, value in row.items() if name != LINE)


def _values(row: Mapping[str, object], names: Iterable[str]) -> str:
    return "(" + ", ".join(str(row[name]) for name in names) + ")"


def _and_more(rows: int) -> str:
    return f" (and {rows - 1} more rows)" if rows > 1 else ""
