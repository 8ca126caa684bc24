"""Rows that a sender posts: from the bytes of a batch to typed rows, and what cannot be taken, each with its reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec
import polars as pl

from springtide.domain.errors import BadRows, TooLarge, did_you_mean
from springtide.domain.rows import REGION, SERIES, TIME
from springtide.domain.units import MONDAY, format_span
from springtide.sources.files.contents import read_csv, read_parquet
from springtide.sources.files.times import read_times

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from springtide.settings.words import RowsSource

__all__ = ["Faulty", "Form", "Sent", "read_sent"]

Form: TypeAlias = Literal["csv", "json", "parquet"]

AHEAD = timedelta(days=1)  # clocks and zones of senders differ; what is further ahead is a mistake
MOST_ROWS = 1_000_000
MOST_TEXT = 10_000  # bytes of one cell
MOST_SERIES = 200  # characters of the name of a series
SHOWN = 80  # characters of a cell that a reason repeats
MOST_CELLS = 1_000  # characters of a row that are kept with its reason

_NOUNS = {"number": "number", "integer": "integer", "boolean": "true or false", "time": "time"}
_ROW, _REASON = " row", " reason"


@dataclass(frozen=True, slots=True)
class Faulty:
    """A row that cannot be taken, counted from 1; `cells` is the row as it was sent, as JSON, cut."""

    row: int
    reason: str
    cells: str


@dataclass(frozen=True, slots=True)
class Sent:
    """A batch: the rows that can be taken, one a key and in its order, those that cannot, and how many were sent."""

    rows: pl.DataFrame
    faulty: tuple[Faulty, ...]
    count: int


def read_sent(data: bytes, source: RowsSource, *, form: Form, region: str, now: datetime, where: str) -> Sent:
    """Read one batch, and check every value.

    A cell is what it says: what a spreadsheet would work out (``=1+1``) is no number, and as a text it stays as it is.

    Parameters
    ----------
    data
        CSV with a header row (any usual separator, UTF-8 with or without a byte order mark); JSON: a list of objects,
        an object with such a list under ``rows``, or an object a line; Parquet.
    source
        What the columns are.
    form
        Which of the three it is.
    region
        Who sent it; it is the name of the series, or the beginning of it.
    now
        The clock: a row of a time to come, by more than a day, is a mistake.
    where
        The batch, for the error.

    Raises
    ------
    BadRows
        What makes a whole batch useless: bytes that cannot be read, a column that is missing, not known or of another
        type, or more faulty rows than `source.tolerance` allows.
    TooLarge
        More rows than a batch may have.
    """
    cells = _READERS[form](data, source, where)
    if cells.height > MOST_ROWS:
        raise _too_many(cells.height, where)
    if cells.is_empty():
        raise BadRows("no rows", where=where, do="send at least one")
    names = {name: cells[name] for name in _wanted(source)}
    typed = {name: _convert(column, _kind(name, source), name, where) for name, column in names.items()}
    rows = _place(pl.DataFrame(typed), source, region).with_columns(
        cells[_ROW], _reasons(cells, pl.DataFrame(typed), source, now).alias(_REASON)
    )
    rows = _without_doubles(rows, source)
    bad = rows.filter(pl.col(_REASON).is_not_null()).select(_ROW, _REASON)
    faulty = tuple(_faulty(cells, bad))
    if len(faulty) == cells.height or len(faulty) > source.tolerance * cells.height:
        raise BadRows(
            f"{len(faulty)} of {cells.height} rows cannot be taken; row {faulty[0].row}: {faulty[0].reason}",
            where=where,
            do="correct them and send the batch again; none of its rows was taken",
        )
    good = rows.filter(pl.col(_REASON).is_null()).drop(_ROW, _REASON)
    return Sent(good.sort(SERIES, TIME, *source.key), faulty, cells.height)


# --- bytes to cells --------------------------------------------------------------------------------------------------


def _from_csv(data: bytes, source: RowsSource, where: str) -> pl.DataFrame:
    sheet = read_csv(data, name="", where=where)
    if not sheet.headers:
        raise BadRows(
            "no header row", where=where, do=f"write {', '.join(_theirs(source).values())} into the first line"
        )
    positions = _match(sheet.headers, source, where)
    cells = sheet.frame.select(pl.col(sheet.columns[at]).alias(name) for name, at in positions.items()).collect()
    return cells.with_row_index(_ROW, 1).filter(~pl.all_horizontal(pl.col(*positions).is_null()))


def _from_parquet(data: bytes, source: RowsSource, where: str) -> pl.DataFrame:
    sheet = read_parquet(data, name="", where=where)
    positions = _match(sheet.headers, source, where)
    try:
        if (count := sheet.frame.select(pl.len()).collect().item()) > MOST_ROWS:
            raise _too_many(count, where)
        cells = sheet.frame.select(pl.col(sheet.columns[at]).alias(name) for name, at in positions.items()).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadRows(
            f"the values cannot be read: {str(error).splitlines()[0][:200]}",
            where=where,
            do="the file may be damaged: write it again",
        ) from error
    return cells.with_columns(pl.selectors.float().fill_nan(None)).with_row_index(_ROW, 1)


def _from_json(data: bytes, source: RowsSource, where: str) -> pl.DataFrame:
    records = _records(data, where)
    for row, record in enumerate(records, 1):
        if not isinstance(record, dict):
            raise BadRows(f"row {row} is no object", where=where, do='send [{"ds": ..., "VALUE": ...}, ...]')
    headers = list(dict.fromkeys(name for record in records for name in record))
    if not records:
        return pl.DataFrame({_ROW: []})
    positions = _match(headers, source, where)
    columns = {
        name: [_cell(record.get(headers[at]), headers[at], row, where) for row, record in enumerate(records, 1)]
        for name, at in positions.items()
    }
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String())).with_row_index(_ROW, 1)


def _records(data: bytes, where: str) -> list[Any]:
    """A list of objects, an object that holds one under ``rows``, or an object a line."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        try:
            return list(msgspec.json.Decoder().decode_lines(data))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise BadRows(f"the JSON cannot be read: {error}", where=where, do="send valid JSON, as UTF-8") from error
    if isinstance(found, dict) and isinstance(found.get("rows"), list):
        return list(found["rows"])
    return found if isinstance(found, list) else [found]


def _cell(value: Any, name: str, row: int, where: str) -> str | None:
    """A value as a CSV would have it, so that all forms are judged alike."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    raise BadRows(
        f"row {row}: {name!r} holds {'a list' if isinstance(value, list) else 'an object'}",
        where=where,
        do="send one value",
    )


_READERS = {"csv": _from_csv, "json": _from_json, "parquet": _from_parquet}


def _too_many(rows: int, where: str) -> TooLarge:
    return TooLarge(f"{rows:,} rows in one batch", where=where, do=f"send at most {MOST_ROWS:,} at once")


def _wanted(source: RowsSource) -> tuple[str, ...]:
    return (*([SERIES] if source.named_series else []), TIME, *source.values)


def _theirs(source: RowsSource) -> dict[str, str]:
    """Our column names to those that the senders use."""
    return {name: source.columns.get(name, name) for name in _wanted(source)}


def _kind(name: str, source: RowsSource) -> str:
    return {SERIES: "text", TIME: "time"}.get(name) or source.values[name]


def _match(headers: Sequence[str], source: RowsSource, where: str) -> dict[str, int]:
    """Where each of our columns stands; every one must be there once, and nothing else."""
    theirs = _theirs(source)
    found = [header.strip() for header in headers]
    for name in theirs.values():
        if name not in found:
            listed = ", ".join(found[:20])
            raise BadRows(f"no column {name!r}; found: {listed}", where=where, do=did_you_mean(name, found[:20]))
    if twice := [name for name, times in Counter(found).items() if times > 1]:
        raise BadRows(f"two columns are named {twice[0]!r}", where=where, do="send each column once")
    if unknown := [name for name in found if name not in theirs.values()]:
        raise BadRows(
            f"the table has no column {unknown[0]!r}",
            where=where,
            do=f"leave it out; {did_you_mean(unknown[0], theirs.values())}",
        )
    return {name: found.index(their) for name, their in theirs.items()}


# --- cells to values -------------------------------------------------------------------------------------------------


def _convert(cells: pl.Series, kind: str, name: str, where: str) -> pl.Series:
    """Cells as what a column holds; null where a cell is no such thing."""
    if isinstance(cells.dtype, pl.Categorical | pl.Enum) or cells.dtype == pl.Null():
        cells = cells.cast(pl.String)
    text, dtype = cells.dtype == pl.String(), cells.dtype
    match kind:
        case "text" if text:
            return cells
        case "time" if text or dtype.is_temporal() or dtype.is_numeric():
            if not isinstance(dtype, pl.Duration | pl.Time):
                return read_times(cells)
        case "boolean" if text or dtype == pl.Boolean():
            words = cells.str.strip_chars().str.to_lowercase() if text else cells
            spelled = {"true": True, "1": True, "false": False, "0": False}
            return words.replace_strict(spelled, default=None, return_dtype=pl.Boolean) if text else words
        case "number" if text or dtype.is_numeric():
            numbers = (cells.str.strip_chars() if text else cells).cast(pl.Float64, strict=False)
            return numbers.set(~numbers.is_finite().fill_null(value=False), None)
        case "integer" if text or dtype.is_numeric():
            return _integers(cells.str.strip_chars() if text else cells)
    raise BadRows(
        f"column {name!r} holds {dtype}, not {'texts' if kind == 'text' else f'what is a {_NOUNS[kind]}'}",
        where=where,
        do=f"send column {name!r} as {kind}",
    )


def _integers(cells: pl.Series) -> pl.Series:
    """Whole numbers, also where they are written 3.0; from 2^53 on a float no longer tells one from the next."""
    whole = (
        cells.cast(pl.Int64, strict=False)
        if not cells.dtype.is_float()
        else pl.Series(dtype=pl.Int64).extend_constant(None, len(cells))
    )
    floats = cells.cast(pl.Float64, strict=False)
    exact = (floats == floats.floor()) & (floats.abs() < 2.0**53)
    from_floats = floats.set(~exact.fill_null(value=False), None).cast(pl.Int64)
    return whole.zip_with(whole.is_not_null(), from_floats).alias(cells.name)


def _place(typed: pl.DataFrame, source: RowsSource, region: str) -> pl.DataFrame:
    """The rows as the table has them: a series belongs to one region, so no region can correct the rows of another."""
    name = (
        pl.format("{}/{}", pl.lit(region), pl.col(SERIES).str.strip_chars()) if source.named_series else pl.lit(region)
    )
    return typed.select(name.alias(SERIES), TIME, pl.lit(region).alias(REGION), *source.values)


# --- what is wrong with a row ----------------------------------------------------------------------------------------


def _reasons(cells: pl.DataFrame, typed: pl.DataFrame, source: RowsSource, now: datetime) -> pl.Series:
    """The first reason why each row cannot be taken; null where there is none."""
    frame = pl.concat(
        [
            cells.select(pl.col(name).cast(pl.String).alias(f"{name} sent") for name in typed.columns),
            typed,
        ],
        how="horizontal",
    )
    return frame.select(pl.coalesce(pl.lit(None, pl.String), *_checks(source, now))).to_series()


def _checks(source: RowsSource, now: datetime) -> Iterator[pl.Expr]:
    """One expression for each thing that may be wrong: its reason, or null."""
    theirs, time = _theirs(source), pl.col(TIME)
    for name in (TIME, *source.key, *([SERIES] if source.named_series else [])):
        yield pl.when(_is_empty(name)).then(pl.lit(f"no {theirs[name]}"))
    for name in _wanted(source):
        if (noun := _NOUNS.get(_kind(name, source))) is not None:
            yield pl.when(pl.col(name).is_null() & ~_is_empty(name)).then(_said(f"{theirs[name]} is no {noun}", name))
        else:
            long = pl.col(name).str.len_bytes() > MOST_TEXT
            yield pl.when(long).then(pl.lit(f"{theirs[name]} is longer than {MOST_TEXT:,} bytes"))
    yield pl.when(time > now + AHEAD).then(_said(f"{theirs[TIME]} is still to come", TIME))
    if source.step_s is not None:
        step = timedelta(seconds=source.step_s)
        off = (time - MONDAY).dt.total_microseconds() % (source.step_s * 1_000_000) != 0
        yield pl.when(off).then(_said(f"{theirs[TIME]} is no step of {format_span(step)}", TIME))
    if source.named_series:
        odd = (pl.col(SERIES).str.len_chars() > MOST_SERIES) | pl.col(SERIES).str.contains(r"\p{Cc}")
        yield pl.when(odd).then(_said(f"{theirs[SERIES]} names no series", SERIES))
    values = [name for name in source.values if name not in source.key]
    if values:
        yield pl.when(pl.all_horizontal(_is_empty(name) for name in values)).then(pl.lit("no value in any column"))


def _is_empty(name: str) -> pl.Expr:
    return pl.col(f"{name} sent").str.strip_chars().fill_null("") == ""


def _said(words: str, name: str) -> pl.Expr:
    shown = pl.col(f"{name} sent").str.slice(0, SHOWN).str.replace_all(r"\p{Cc}", " ")
    return pl.format("{}: {}", pl.lit(words), shown)


def _without_doubles(rows: pl.DataFrame, source: RowsSource) -> pl.DataFrame:
    """One of rows that are equal; rows that have one key and other values contradict each other, so all are faulty."""
    key = [SERIES, TIME, *source.key]
    good, bad = rows.filter(pl.col(_REASON).is_null()), rows.filter(pl.col(_REASON).is_not_null())
    if good.select(key).is_unique().all():
        return rows
    good = good.unique([*key, REGION, *source.values], keep="first", maintain_order=True)
    at_odds = pl.when(pl.len().over(key) > 1).then(pl.lit("another row of the batch has its key and other values"))
    return pl.concat([good.with_columns(at_odds.alias(_REASON)), bad])


def _faulty(cells: pl.DataFrame, bad: pl.DataFrame) -> Iterator[Faulty]:
    """Rows beside their reasons, in the order in which they were sent."""
    told = cells.join(bad, on=_ROW).sort(_ROW)
    for record in told.iter_rows(named=True):
        row, reason = record.pop(_ROW), record.pop(_REASON)
        cut = {name: value[:MOST_CELLS] if isinstance(value, str) else value for name, value in record.items()}
        yield Faulty(row, reason, msgspec.json.encode(cut, enc_hook=str).decode()[:MOST_CELLS])
