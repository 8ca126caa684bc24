"""From a sheet of cells to checked rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from springtide.domain.errors import BadRows
from springtide.domain.rows import SERIES, TIME
from springtide.sources.candles import CANDLES, LINE, PLAIN, check
from springtide.sources.files.formats import Mapped, map_columns
from springtide.sources.files.pairs import pair_in_name, spell_pair
from springtide.sources.files.times import read_times

if TYPE_CHECKING:
    from collections.abc import Mapping

    from springtide.sources.files.contents import Sheet

__all__ = ["Wanted", "read_rows"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person said about the files of a source."""

    columns: Mapping[str, str]  # our column name to the file's own
    series: str | None  # for files that do not name their series
    step_s: int | None  # seconds between two rows


def read_rows(sheet: Sheet, wanted: Wanted) -> tuple[pl.DataFrame, str]:
    """Recognise, convert and check one sheet.

    Returns
    -------
    (rows, note)
        Candles or plain rows, sorted; what was recognised and left out, for people.
    """
    mapped = map_columns(sheet.headers, len(sheet.columns), chosen=wanted.columns, where=sheet.where)
    cells = _take(sheet, mapped)
    rows = _name_series(_with_times(cells, sheet.where), sheet, mapped, wanted.series)
    notes = [str(mapped)]
    if not mapped.plain and "volume" not in mapped.positions:
        rows = rows.with_columns(volume=pl.lit(0.0))
        notes.append("no volume in the file: 0")
    if mapped.format.moments:
        whole = _drop_moments(rows)
        if left_out := rows.height - whole.height:
            notes.append(f"{left_out} snapshots between two steps: left out")
        rows = whole
    schema = PLAIN if mapped.plain else CANDLES
    return check(rows, where=sheet.where, schema=schema, step_s=wanted.step_s), "; ".join(notes)


def _take(sheet: Sheet, mapped: Mapped) -> pl.DataFrame:
    """The recognised columns under our names, without empty rows and headers that come again."""
    ours = {name: sheet.columns[at] for name, at in mapped.positions.items()}
    text = LINE in sheet.frame.collect_schema().names() and LINE not in sheet.columns
    frame = sheet.frame.select(
        *(pl.col(theirs).alias(name) for name, theirs in ours.items()), *([LINE] if text else [])
    )
    if text:
        frame = frame.filter(~pl.all_horizontal(pl.col(*ours).is_null()))
        if sheet.headers:
            header = sheet.headers[mapped.positions[TIME]]
            frame = frame.filter(pl.col(TIME).str.strip_chars().ne_missing(header))
    try:
        cells = frame.collect()
    except pl.exceptions.PolarsError as error:
        raise BadRows(
            f"the values cannot be read: {str(error).splitlines()[0][:200]}",
            where=sheet.where,
            do="the file may be damaged: export or download it again",
        ) from error
    if cells.is_empty():
        raise BadRows("a header and no rows", where=sheet.where, do="export or download it again")
    return cells


def _with_times(cells: pl.DataFrame, where: str) -> pl.DataFrame:
    """Read `ds`, and refuse the first row that names no time."""
    kind = cells.schema[TIME]
    if not (kind in (pl.String, pl.Date) or kind.is_numeric() or isinstance(kind, pl.Datetime)):
        raise BadRows(f"{TIME} holds {kind}, not times", where=where, do="map another column in the source's columns")
    times = read_times(cells[TIME])
    bad = times.is_null().arg_true()
    if not bad.is_empty():
        at = f"line {cells[LINE][bad[0]]}" if LINE in cells.columns else f"row {bad[0] + 1}"
        raise BadRows(
            f"{TIME} is no time: {cells[TIME][bad[0]]!r}",
            where=f"{where}, {at}",
            do="write times as 2024-01-31 13:00:00 (UTC), with an offset, or as an epoch",
        )
    return cells.with_columns(times.alias(TIME))


def _name_series(rows: pl.DataFrame, sheet: Sheet, mapped: Mapped, series: str | None) -> pl.DataFrame:
    """The series from its column, else from the settings, else from the file's name."""
    if SERIES in rows.columns:
        if not mapped.format.pairs:
            return rows
        spelled = {name: spell_pair(name) for name in rows[SERIES].drop_nulls().unique()}
        return rows.with_columns(pl.col(SERIES).replace(spelled))
    name = series or pair_in_name(sheet.stem)
    if name is None:
        raise BadRows(
            "the file does not say which series it holds",
            where=sheet.where,
            do='set series = "BTC/USDT" for the source, or map the column: columns = { unique_id = "coin" }',
        )
    return rows.with_columns(pl.lit(name).alias(SERIES))


def _drop_moments(rows: pl.DataFrame) -> pl.DataFrame:
    """Leave out rows of one series between its steps: moving them would date a price before it was known."""
    jumps = rows[TIME].unique().sort().diff().drop_nulls().to_physical()
    if jumps.is_empty():
        return rows
    phases = rows[TIME].to_physical() % jumps.mode().min()
    return rows.filter(phases == phases.mode().min())
