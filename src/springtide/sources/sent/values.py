"""From cells to what a column holds, and what is wrong with a row: one expression for each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl

from springtide.domain.rows import SERIES, TIME
from springtide.domain.units import MONDAY, format_span
from springtide.sources.sent.cells import kind_of, their_columns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from springtide.settings.words import RowsSource

__all__ = ["as_sent", "convert", "faults", "in_reach", "text_of"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
AHEAD = timedelta(days=1)  # clocks and zones of senders differ; what is further ahead is a mistake
# Further off no calendar of ours can go on to count, and no row is meant: years 1900 to 2199.
FIRST_TIME, END_OF_TIMES = datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
MOST_TEXT = 10_000  # bytes of one cell
MOST_SERIES = 200  # characters of the name of a series
SHOWN = 80  # characters of a cell that a reason repeats

_NOUNS = {"number": "number", "integer": "integer", "boolean": "true or false", "time": "time"}
_UNITS_A_SECOND = {"ms": 10**3, "us": 10**6, "ns": 10**9}


def as_sent(name: str) -> str:
    """The column in which the cells of a column stand as text, beside what was made of them."""
    return f"{name} sent"


def text_of(name: str, dtype: pl.DataType) -> pl.Expr:
    """The cells of a column as text; a date or time out of reach, which polars cannot write out, as its bare number."""
    text = _reachable(pl.col(name), dtype).cast(pl.String)
    return pl.coalesce(text, pl.col(name).to_physical().cast(pl.String)) if dtype.is_temporal() else text


def in_reach(times: pl.Series) -> pl.Series:
    """Times of the years 1900 to 2199; null where one is further off."""
    return times.set(~times.is_between(FIRST_TIME, END_OF_TIMES, closed="left"), None)


def _reachable(cells: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """The same of typed cells, told by the integers that they are: nothing else takes all of them."""
    if not isinstance(dtype, pl.Date | pl.Datetime):
        return cells
    day = 1 if isinstance(dtype, pl.Date) else 86_400 * _UNITS_A_SECOND[dtype.time_unit]
    first, end = (day * (moment - EPOCH).days for moment in (FIRST_TIME, END_OF_TIMES))
    return pl.when(cells.to_physical().is_between(first, end, closed="left")).then(cells)


def convert(name: str, dtype: pl.DataType, source: RowsSource) -> pl.Expr:
    """A column of cells as what it holds; null where a cell is no such thing. Texts are read as times elsewhere."""
    kind, cells = kind_of(name, source), pl.col(name)
    if isinstance(dtype, pl.Categorical | pl.Enum | pl.Null):
        cells, dtype = cells.cast(pl.String), pl.String()
    bare = cells.str.strip_chars() if dtype == pl.String() else cells
    match kind:
        case "boolean" if dtype == pl.String():
            spelled = {"true": True, "1": True, "false": False, "0": False}
            return bare.str.to_lowercase().replace_strict(spelled, default=None, return_dtype=pl.Boolean)
        case "number":
            numbers = bare.cast(pl.Float64, strict=False)
            return pl.when(numbers.is_finite()).then(numbers)
        case "integer":
            return _integers(bare, dtype)
    return _reachable(cells, dtype)


def _integers(cells: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Whole numbers, also where they are written 3.0; from 2^53 on a float does not tell one from the next."""
    floats = cells.cast(pl.Float64, strict=False)
    exact = (floats == floats.floor()) & (floats.abs() < 2.0**53)
    from_floats = pl.when(exact).then(floats).cast(pl.Int64)
    return from_floats if dtype.is_float() else pl.coalesce(cells.cast(pl.Int64, strict=False), from_floats)


def faults(source: RowsSource, now: datetime) -> Iterator[pl.Expr]:
    """One expression for each thing that may be wrong with a row: the reason in words, or null."""
    theirs, time = their_columns(source), pl.col(TIME)
    for name in (TIME, *source.key, *([SERIES] if source.named_series else [])):
        yield pl.when(_is_empty(name)).then(pl.lit(f"no {theirs[name]}"))
    for name, their in theirs.items():
        if (noun := _NOUNS.get(kind_of(name, source))) is not None:
            of_years = f" of the years {FIRST_TIME.year} to {END_OF_TIMES.year - 1}" if noun == "time" else ""
            yield pl.when(pl.col(name).is_null() & ~_is_empty(name)).then(
                _said(f"{their} is no {noun}{of_years}", name)
            )
        else:
            long = pl.col(name).str.len_bytes() > MOST_TEXT
            yield pl.when(long).then(pl.lit(f"{their} is longer than {MOST_TEXT:,} bytes"))
    yield pl.when(time > now + AHEAD).then(_said(f"{theirs[TIME]} is still to come", TIME))
    if source.step_s is not None:
        off = (time - MONDAY).dt.total_microseconds() % (source.step_s * 1_000_000) != 0
        step = format_span(timedelta(seconds=source.step_s))
        yield pl.when(off).then(_said(f"{theirs[TIME]} is no step of {step}", TIME))
    if source.named_series:
        odd = (pl.col(SERIES).str.len_chars() > MOST_SERIES) | pl.col(SERIES).str.contains(r"\p{Cc}")
        yield pl.when(odd).then(_said(f"{theirs[SERIES]} names no series", SERIES))
    if values := [name for name in source.values if name not in source.key]:
        yield pl.when(pl.all_horizontal(_is_empty(name) for name in values)).then(pl.lit("no value in any column"))


def _is_empty(name: str) -> pl.Expr:
    """Whether a cell says nothing; a copy of every text without its blanks would be as large as all of them."""
    return ~pl.col(as_sent(name)).str.contains(r"\S").fill_null(value=False)


def _said(words: str, name: str) -> pl.Expr:
    shown = pl.col(as_sent(name)).str.slice(0, SHOWN).str.replace_all(r"\p{Cc}", " ")
    return pl.format("{}: {}", pl.lit(words), shown)
