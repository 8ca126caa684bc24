"""From the bytes of a batch to cells under our column names: CSV, JSON, Parquet."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec
import polars as pl

from springtide.domain.errors import BadRows, TooLarge, did_you_mean
from springtide.domain.rows import SERIES, TIME
from springtide.sources.files.contents import read_csv, read_parquet
from springtide.sources.files.meaning import with_points
from springtide.sources.files.unpacked import Bound, check_unpacked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from springtide.settings.words import RowsSource
    from springtide.sources.files.contents import Sheet

__all__ = ["ROW", "Form", "kind_of", "read_cells", "their_columns"]

Form: TypeAlias = Literal["csv", "json", "parquet"]

ROW = " row"  # a column with the number of each row as it was sent, from 1
MOST_ROWS = 1_000_000
UNPACKED = 20  # times the largest body, and at least as many bytes as follow, are held of one batch
UNPACKED_BYTES = 64 << 20
NOUNS = {"number": "a number", "integer": "an integer", "boolean": "a true or false", "time": "a time", "text": "text"}


def their_columns(source: RowsSource) -> dict[str, str]:
    """Our names of the columns that are sent, and the senders' own."""
    names = (*([SERIES] if source.named_series else []), TIME, *source.values)
    return {name: source.columns.get(name, name) for name in names}


def kind_of(name: str, source: RowsSource) -> str:
    """What a column holds."""
    return {SERIES: "text", TIME: "time"}.get(name) or source.values[name]


def read_cells(data: bytes, form: Form, source: RowsSource, *, where: str) -> pl.DataFrame:
    """The columns of `source`, text from CSV and JSON and typed from Parquet, and `ROW`.

    Raises
    ------
    BadRows
        Bytes that cannot be read, a column that is missing, comes twice, is not known or is of another type, no row.
    TooLarge
        More rows than a batch may have, or more bytes when unpacked.
    """
    match form:
        case "csv":
            cells = _from_csv(data, source, where)
        case "json":
            cells = _from_json(data, source, where)
        case "parquet":
            cells = _from_parquet(data, source, where)
    _check_size(cells.height, where)
    if cells.is_empty():
        raise BadRows("no rows", where=where, do="send at least one")
    return cells


def _from_csv(data: bytes, source: RowsSource, where: str) -> pl.DataFrame:
    sheet = read_csv(data, name="", where=where)
    if not sheet.headers:
        names = ", ".join(their_columns(source).values())
        raise BadRows("no header row", where=where, do=f"write {names} into the first line")
    rows = _columns(sheet, source, where).with_row_index(ROW, 1)
    cells = rows.filter(~pl.all_horizontal(pl.exclude(ROW).is_null())).collect()
    if sheet.separator == ",":
        return cells
    return cells.with_columns(_with_points(cells[name]) for name, kind in source.values.items() if kind == "number")


def _with_points(cells: pl.Series) -> pl.Series:
    """Numbers with decimal commas, as spreadsheets write them in much of Europe, with points; where there are points already, as they are."""
    if cells.str.contains(".", literal=True).any():
        return cells
    return with_points(cells.str.strip_chars())


def _from_parquet(data: bytes, source: RowsSource, where: str) -> pl.DataFrame:
    sheet = read_parquet(data, name="", where=where)
    rows = _columns(sheet, source, where)
    try:
        _check_types(rows.collect_schema(), source, where)
        _check_size(rows.select(pl.len()).collect().item(), where)
        check_unpacked(data, rows, bound=_bound(source), where=where)
        return rows.with_columns(pl.selectors.float().fill_nan(None)).with_row_index(ROW, 1).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadRows(
            f"the values cannot be read: {str(error).splitlines()[0][:200]}",
            where=where,
            do="the file may be damaged: write it again",
        ) from error


def _check_types(schema: pl.Schema, source: RowsSource, where: str) -> None:
    """Refuse a column none of whose cells can be what it should hold."""
    for name, dtype in schema.items():
        text, kind = isinstance(dtype, pl.String | pl.Categorical | pl.Enum | pl.Null), kind_of(name, source)
        fits = {
            "text": text,
            "boolean": text or dtype == pl.Boolean(),
            "time": text or dtype.is_numeric() or isinstance(dtype, pl.Date | pl.Datetime),
        }
        if not fits.get(kind, text or dtype.is_numeric()):
            raise BadRows(
                f"column {their_columns(source)[name]!r} holds {dtype}, not {NOUNS[kind]}",
                where=where,
                do=f"send it as {kind}",
            )


def _bound(source: RowsSource) -> Bound:
    """What a few bytes may not go beyond: a thousand million rows, gigabytes of text."""
    return Bound(
        max(UNPACKED_BYTES, UNPACKED * source.max_body),
        f"send it in several batches; {UNPACKED} times max_body of the source is taken, and no less than {UNPACKED_BYTES:,}",
    )


def _from_json(data: bytes, source: RowsSource, where: str) -> pl.DataFrame:
    records = _records(data, where)
    for row, record in enumerate(records, 1):
        if not isinstance(record, dict):
            raise BadRows(f"row {row} is no object", where=where, do='send [{"ds": ..., "VALUE": ...}, ...]')
    if not records:
        return pl.DataFrame()
    headers = list(dict.fromkeys(name for record in records for name in record))
    columns = {
        name: [_cell(record.get(headers[at]), headers[at], row, where) for row, record in enumerate(records, 1)]
        for name, at in _match(headers, source, where).items()
    }
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String())).with_row_index(ROW, 1)


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
    """A value as a CSV would have it, so that both forms are judged alike."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    kind = "a list" if isinstance(value, list) else "an object"
    raise BadRows(f"row {row}: {name!r} holds {kind}", where=where, do="send one value")


def _check_size(rows: int, where: str) -> None:
    if rows > MOST_ROWS:
        raise TooLarge(f"{rows:,} rows in one batch", where=where, do=f"send at most {MOST_ROWS:,} at once")


def _columns(sheet: Sheet, source: RowsSource, where: str) -> pl.LazyFrame:
    positions = _match(sheet.headers, source, where)
    return sheet.frame.select(pl.col(sheet.columns[at]).alias(name) for name, at in positions.items())


def _match(headers: Sequence[str], source: RowsSource, where: str) -> dict[str, int]:
    """Where each of our columns stands; every one must be there once, and nothing else."""
    theirs = their_columns(source)
    found = [header.strip() for header in headers]
    for name in theirs.values():
        if name not in found:
            listed = ", ".join(found[:20])
            raise BadRows(
                f"no column {name!r}; found: {listed}", where=where, do=f"send the columns {', '.join(theirs.values())}"
            )
    if twice := [name for name, times in Counter(found).items() if times > 1]:
        raise BadRows(f"two columns are named {twice[0]!r}", where=where, do="send each column once")
    if unknown := [name for name in found if name not in theirs.values()]:
        raise BadRows(
            f"the table has no column {unknown[0]!r}",
            where=where,
            do=f"leave it out; {did_you_mean(unknown[0], theirs.values())}",
        )
    return {name: found.index(their) for name, their in theirs.items()}
