"""The table of a job: any CSV, workbook or Parquet file made into typed columns, and cut into what trains and what judges."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import polars as pl

from springtide.domain.errors import BadRows, TooFewRows, did_you_mean
from springtide.sources.files.contents import read_sheets
from springtide.sources.files.meaning import YEARS, is_in_reach, numbers_of, said, times_of, with_points
from springtide.sources.files.unpacked import Bound
from springtide.trainers.answers import MOST
from springtide.trainers.labels import label
from springtide.trainers.task import Column

if TYPE_CHECKING:
    from datetime import datetime

    from springtide.domain.job import JobParams, Question
    from springtide.sources.files.contents import Sheet
    from springtide.trainers.task import Kind

__all__ = ["FEWEST", "MOST_UNPACKED", "JobTable", "Parts", "cut", "read_table"]

FEWEST = 20  # rows that train, and rows that judge
MOST_CLASSES = 100
MOST_ODD = 0.1  # share of the cells of a column that keep it from being one of numbers, or times
MOST_UNPACKED = 2_000_000_000  # bytes of memory that the table may take
IN_WORDS = (pl.String, pl.Categorical, pl.Enum, pl.Null, pl.Time, pl.Binary)  # types whose cells are read as text


@dataclass(frozen=True, slots=True)
class JobTable:
    """Rows in the order of time: features as float64, text or datetime, the target as float64 or text.

    `notes` say what was left out; `sha256` is of the bytes that were sent.
    """

    frame: pl.DataFrame
    columns: tuple[Column, ...]
    target: str
    question: Question
    classes: tuple[str, ...]
    time: str | None
    notes: tuple[str, ...]
    sha256: str


@dataclass(frozen=True, slots=True)
class Parts:
    """What trains, and the later rows that judge."""

    training: pl.DataFrame
    judging: pl.DataFrame


def read_table(data: bytes, name: str, params: JobParams, *, most_unpacked: int = MOST_UNPACKED) -> JobTable:
    """Read what was sent; of columns that are not asked for nothing but the names.

    Raises
    ------
    BadRows
        If it is no table, lacks a named column, or its target cannot be learned.
    TooFewRows
        If there are not enough rows to train and to judge.
    TooLarge
        If it takes more than `most_unpacked` bytes of memory.
    """
    where = f"file {name}"
    bound = Bound(most_unpacked, "send fewer rows or columns, or let max_unpacked of section [jobs] be larger")
    sheet = _only_sheet(data, name, where, bound)
    frame = _wanted(sheet, params, where)
    notes: list[str] = []
    commas = sheet.separator not in (None, ",")
    typed = frame.select(_typed(frame[column], where, commas=commas) for column in frame.columns)
    time = _time(typed, params, where)
    if "" in sheet.headers:
        notes.append(f"{sheet.headers.count('')} columns without a name were left out")
    for column in frame.columns:
        if (odd := _odd_cells(frame[column], typed[column], commas=commas)) is None:
            continue
        if column == params.target and params.question in (None, "regression"):
            raise BadRows(
                f"the target {column!r}: {odd}",
                where=where,
                do='correct them, leave them empty, or ask for "multiclass"',
            )
        notes.append(f"column {column!r} is learned as text: {odd}")
    if time is not None:
        typed = _in_order(typed, time, notes)
    typed = _with_target(typed, params.target, notes, where)
    features = [one for one in params.features or typed.columns if one != params.target]
    columns = _features(typed, features, notes, where)
    question, target, classes = _question(typed[params.target], params, where)
    if typed.height < 2 * FEWEST:
        raise TooFewRows(f"{typed.height} rows with a target", where=where, do=f"send at least {2 * FEWEST}")
    chosen = dict.fromkeys([*(column.name for column in columns), *([time] if time else [])])
    return JobTable(
        typed.select(*chosen).with_columns(target),
        columns,
        params.target,
        question,
        classes,
        time,
        tuple(notes),
        hashlib.sha256(data).hexdigest(),
    )


def cut(table: JobTable, share: float, *, not_before: datetime | None) -> Parts:
    """The earlier rows train, the latest `share` of them judge; rows of one time are on one side.

    `not_before` is the latest time that the champion has seen: what judges is later.

    Raises
    ------
    TooFewRows
        If too few rows would train or judge.
    """
    frame, at = table.frame, round(table.frame.height * (1 - share))
    if table.time is None:
        parts = Parts(frame[:at], frame[at:])
    else:
        judging = frame[table.time] >= frame[table.time][min(at, frame.height - 1)]
        if not_before is not None:
            judging &= frame[table.time] > not_before.replace(tzinfo=None)
        parts = Parts(frame.filter(~judging), frame.filter(judging))
    few = min((parts.training.height, "train"), (parts.judging.height, "judge"))
    if few[0] < FEWEST:
        seen = "" if not_before is None else f", later than {not_before:%Y-%m-%d %H:%M}, which the champion has seen"
        raise TooFewRows(
            f"{few[0]} rows to {few[1]} with{seen if few[1] == 'judge' else ''}",
            where="the data of the job",
            do=f"send more rows, at least {FEWEST} that train and {FEWEST} that judge",
        )
    return parts


def _only_sheet(data: bytes, name: str, where: str, bound: Bound) -> Sheet:
    sheet, *more = islice(read_sheets(data, name=name, where=where, bound=bound), 2)
    if more:
        raise BadRows("several tables in one file", where=where, do="send one table")
    if not sheet.headers:
        raise BadRows("the first row has no names of columns", where=where, do="add a header row")
    twice = {one for one in sheet.headers if one and sheet.headers.count(one) > 1}
    if twice:
        raise BadRows(f"two columns are called {min(twice)!r}", where=where, do="give every column a name of its own")
    return sheet


def _wanted(sheet: Sheet, params: JobParams, where: str) -> pl.DataFrame:
    """The columns that are asked for, under their names; all where no features are named."""
    named = (params.target, *([params.time] if params.time else ()), *params.features)
    for column in named:
        if column not in sheet.headers:
            raise BadRows(f"there is no column {column!r}", where=where, do=did_you_mean(column, sheet.headers))
    wanted = set(named) if params.features else set(sheet.headers)
    columns = {
        header: column
        for header, column in zip(sheet.headers, sheet.columns, strict=True)
        if header and header in wanted
    }
    try:
        rows = sheet.frame.select(pl.col(column).alias(header) for header, column in columns.items())
        for name, kind in rows.collect_schema().items():
            _check_type(name, kind, where)
        return rows.collect()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise BadRows(
            f"cannot be read: {str(error).splitlines()[0]}", where=where, do="it may be damaged: export it again"
        ) from error


def _check_type(name: str, kind: pl.DataType, where: str) -> None:
    if not (kind.is_numeric() or isinstance(kind, (pl.Boolean, pl.Date, pl.Datetime, *IN_WORDS))):
        raise BadRows(
            f"column {name!r} holds {kind}, which is no number, time or text",
            where=where,
            do="write it as numbers or text, or leave it out: name the columns to learn from in features",
        )


def _typed(column: pl.Series, where: str, *, commas: bool) -> pl.Series:
    """Numbers as float64, times as datetime (UTC, without zone), all else as text; a cell that looks like a formula is text."""
    kind = column.dtype
    if kind.is_numeric() or kind == pl.Boolean:
        return column.cast(pl.Float64).fill_nan(None)
    if kind.is_temporal() and kind != pl.Time:
        return _as_times(column, where)
    try:
        text = column.cast(pl.String)
    except pl.exceptions.PolarsError as error:
        raise BadRows(
            f"column {column.name!r} holds bytes that are no UTF-8", where=where, do="write it as text, or leave it out"
        ) from error
    return _read_text(said(text), commas=commas)


def _as_times(column: pl.Series, where: str) -> pl.Series:
    if not is_in_reach(column).all():
        raise BadRows(
            f"column {column.name!r} holds times that are not of the years {YEARS[0]} to {YEARS[1]}",
            where=where,
            do="correct them, or leave them empty",
        )
    if column.dtype == pl.Date:
        return column.cast(pl.Datetime("us"))
    zone = column.dtype.time_zone  # type: ignore[attr-defined] # it is a datetime
    utc = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if zone else column
    return utc.dt.cast_time_unit("us")


def _read_text(text: pl.Series, *, commas: bool) -> pl.Series:
    """Cells that all are numbers, or times; else what they are. With `commas` a number may have one where others have a point."""
    given = text.drop_nulls()
    if given.is_empty():
        return text
    if not numbers_of(given).has_nulls():
        return numbers_of(text)
    with_a_point_alone = given.str.contains(r"^[^,]*\.[^,]*$").any()
    if commas and not with_a_point_alone and not numbers_of(with_points(given)).has_nulls():
        return numbers_of(with_points(text))
    times = times_of(text)
    return times if times.null_count() == text.null_count() else text


def _odd_cells(column: pl.Series, typed: pl.Series, *, commas: bool) -> str | None:
    """The cells without which a column of text would be one of numbers, or of times; None where they are many."""
    if typed.dtype != pl.String or column.dtype not in IN_WORDS:
        return None
    for noun, read in (
        ("numbers", lambda text: numbers_of(with_points(text) if commas else text)),
        ("times", times_of),
    ):
        odd = typed.is_not_null() & read(typed).is_null()
        if 0 < odd.sum() <= MOST_ODD * typed.count():
            row = odd.arg_max() or 0
            return (
                f"no {noun} in {odd.sum()} of {typed.count()} cells, the first is {typed[row]!r:.60} in row {row + 1}"
            )
    return None


def _time(typed: pl.DataFrame, params: JobParams, where: str) -> str | None:
    """The column that orders the rows."""
    if params.time is None:
        return None
    if typed[params.time].dtype != pl.Datetime:
        raise BadRows(
            f"column {params.time!r} holds no times", where=where, do="write them as 2026-01-31 or 2026-01-31 12:00:00"
        )
    return params.time


def _in_order(typed: pl.DataFrame, time: str, notes: list[str]) -> pl.DataFrame:
    if nulls := typed[time].null_count():
        notes.append(f"{nulls} rows without a time were left out")
    return typed.drop_nulls(time).sort(time, maintain_order=True)


def _with_target(typed: pl.DataFrame, target: str, notes: list[str], where: str) -> pl.DataFrame:
    nulls = typed[target].null_count()
    if nulls == typed.height:
        raise BadRows(f"the target {target!r} has no value at all", where=where, do="name the column to predict")
    if typed[target].dtype == pl.Float64 and (odd := (typed[target].abs() > MOST).sum()):
        raise BadRows(
            f"{odd} values of the target {target!r} are infinite or beyond {MOST:g}",
            where=where,
            do="correct them, leave them empty, or give the target in a larger unit",
        )
    if nulls:
        notes.append(f"{nulls} rows without a target were left out")
    return typed.drop_nulls(target)


def _features(typed: pl.DataFrame, names: list[str], notes: list[str], where: str) -> tuple[Column, ...]:
    columns = []
    for name in names:
        if typed[name].null_count() == typed.height:
            notes.append(f"column {name!r} has no value and was left out")
            continue
        kind: Kind = (
            "number" if typed[name].dtype == pl.Float64 else "date" if typed[name].dtype == pl.Datetime else "category"
        )
        columns.append(Column(name, kind))
    if not columns:
        raise BadRows("no column is left to predict from", where=where, do="send columns beside the target")
    return tuple(columns)


def _question(target: pl.Series, params: JobParams, where: str) -> tuple[Question, pl.Series, tuple[str, ...]]:
    """What is asked, the target as it is learned, and the classes in order."""
    if target.n_unique() == 1:
        raise BadRows(
            f"the target {params.target!r} has one value only: {target[0]!r}",
            where=where,
            do="send rows of every outcome",
        )
    number = target.dtype == pl.Float64
    question: Question = params.question or (
        "regression" if number and target.n_unique() > 2 else "binary" if target.n_unique() == 2 else "multiclass"
    )
    if question == "regression":
        if not number:
            raise BadRows(
                f"the target {params.target!r} is no number: {target[0]!r}", where=where, do='ask for "multiclass"'
            )
        return question, target, ()
    if target.dtype == pl.Datetime:
        raise BadRows(f"the target {params.target!r} is a time", where=where, do="name a column of numbers or classes")
    count = target.n_unique()
    if question == "binary" and count != 2:
        raise BadRows(f"{count} classes where two were asked for", where=where, do='ask for "multiclass"')
    if count > MOST_CLASSES:
        raise BadRows(f"{count} classes", where=where, do=f"send at most {MOST_CLASSES}, or ask for a regression")
    text = target.cast(pl.String)
    if number and (target == target.round()).all():
        whole = {value: label(value) for value in target.unique()}
        text = target.replace_strict(whole, return_dtype=pl.String)
    return question, text, tuple(text.unique().sort())
