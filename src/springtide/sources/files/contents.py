"""From the bytes of a file to sheets of cells: CSV, gzip, Parquet, xlsx and zip, told apart by their content."""

from __future__ import annotations

import gzip
import io
import re
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import polars as pl

from springtide.domain.errors import BadRows
from springtide.sources.candles import LINE
from springtide.sources.files.unpacked import TEXT, check_unpacked
from springtide.sources.files.workbook import Unreadable, read_first_sheet, read_within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from springtide.sources.files.unpacked import Bound

__all__ = ["SUFFIXES", "Sheet", "read_csv", "read_parquet", "read_sheets"]

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".pq", ".xlsx", ".zip")

# What a packed file may grow to. Candles as text pack about 4 to 1, a column of zeros some 1000 to 1 but is small.
_MAX_BYTES = 4 << 30
_MAX_RATIO = 200
_SMALL_BYTES = 64 << 20  # below this the ratio does not matter
_MAX_DEPTH = 2  # a gzip in a zip; there are archives that hold themselves
_COMMENT_LINES = 20
_QUOTED = re.compile(r'"[^"]*"')  # a separator inside is none


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table of cells: a CSV, a Parquet file, the first sheet of a workbook.

    `frame` has the columns `columns` in the file's order; from text also `line`, and then every cell is text.
    `separator` is what stands between the cells of a CSV.
    """

    where: str
    stem: str  # the file's name without its endings
    headers: tuple[str, ...]  # empty when there is no header row
    columns: tuple[str, ...]
    frame: pl.LazyFrame
    separator: str | None = None


def read_sheets(data: bytes, *, name: str, where: str, bound: Bound | None = None, depth: int = 0) -> Iterator[Sheet]:
    """Yield the sheets of a file; several only for a zip. No more than `bound` is unpacked, where there is one.

    Raises
    ------
    BadRows
        Empty, truncated or unreadable bytes, text that is not UTF-8, a zip that is no archive of data.
    TooLarge
        More than `bound`.
    """
    if not data:
        raise BadRows("the file is empty", where=where, do="export or download it again")
    if depth > _MAX_DEPTH:
        raise BadRows("packed inside packed inside packed", where=where, do="unpack it by hand and look")
    if data[:2] == b"\x1f\x8b":
        plain = _gunzip(data, where, bound)
        yield from read_sheets(plain, name=name, where=where, bound=bound, depth=depth + 1)
    elif data[:4] == b"PAR1" or name.endswith((".parquet", ".pq")):
        yield read_parquet(data, name=name, where=where, bound=bound)
    elif data[:2] == b"PK" or name.endswith((".zip", ".xlsx")):
        yield from _read_zip(data, name=name, where=where, bound=bound, depth=depth)
    else:
        yield read_csv(data, name=name, where=where, bound=bound)


def _stem(name: str) -> str:
    """The name without folders and endings: ``a/BTCUSDT-1h.csv.gz`` is ``BTCUSDT-1h``."""
    bare = PurePosixPath(name).name
    suffix = max((s for s in SUFFIXES if bare.lower().endswith(s)), key=len, default="")
    return bare[: len(bare) - len(suffix)]


# --- packed ----------------------------------------------------------------------------------------------------------


def _too_big(where: str, size: str) -> BadRows:
    return BadRows(
        f"unpacks to {size}, which no file of candles does",
        where=where,
        do=f"unpack it by hand and look; the limits are {_MAX_BYTES >> 30} GiB and {_MAX_RATIO} times the packed size",
    )


def _limit(packed: int) -> int:
    return min(_MAX_BYTES, max(_SMALL_BYTES, packed * _MAX_RATIO))


def _gunzip(data: bytes, where: str, bound: Bound | None) -> bytes:
    """Unpack gzip, refusing a truncated or an absurd one."""
    limit = _limit(len(data))
    most = limit if bound is None else min(limit, bound.most)
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            plain = packed.read(most + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _damaged("gzip", error, where) from error
    if bound is not None:
        bound.check(len(plain), where)
    if len(plain) > limit:
        raise _too_big(where, f"more than {limit >> 20} MiB")
    return plain


def _read_zip(data: bytes, *, name: str, where: str, bound: Bound | None, depth: int) -> Iterator[Sheet]:
    """The sheets of an archive's members, or of a workbook, which is a zip too."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise _damaged("zip", error, where) from error
    with archive:
        _refuse_bad_archive(archive, packed=len(data), where=where)
        if "xl/workbook.xml" in archive.namelist():
            yield _read_workbook(data, name=name, where=where, bound=bound)
            return
        members = [member for member in archive.infolist() if _is_data(member)]
        if bound is not None:
            bound.check(sum(member.file_size for member in members), where)
        if not members:
            names = ", ".join(archive.namelist()[:5]) or "nothing"
            raise BadRows(
                f"no CSV, Parquet or xlsx in the zip; found: {names}", where=where, do="pack data files, not folders"
            )
        for member in members:
            inside = f"{where}, {member.filename}"
            yield from read_sheets(
                _unzip(archive, member, inside), name=member.filename, where=inside, bound=bound, depth=depth + 1
            )


def _refuse_bad_archive(archive: zipfile.ZipFile, *, packed: int, where: str) -> None:
    """Refuse names that lead out of the archive, and absurd sizes, before a byte is unpacked."""
    for member in archive.namelist():
        path = PurePosixPath(member.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0]):
            raise BadRows(
                f"the zip holds a file named {member!r}, which leads out of it",
                where=where,
                do="do not trust this archive; get it from its publisher",
            )
    size = sum(member.file_size for member in archive.infolist())
    if size > _limit(packed):
        raise _too_big(where, f"{size >> 20} MiB")


def _is_data(member: zipfile.ZipInfo) -> bool:
    """A data file, not a folder, a checksum or what macOS adds; zips inside zips are not opened."""
    path = PurePosixPath(member.filename)
    hidden = path.name.startswith(".") or "__MACOSX" in path.parts
    return not member.is_dir() and not hidden and path.name.lower().endswith(SUFFIXES) and path.suffix != ".zip"


def _unzip(archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str) -> bytes:
    try:
        return archive.read(member)  # never more than the declared size, which was checked
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise _damaged("zip", error, where) from error


def _damaged(kind: str, error: Exception, where: str) -> BadRows:
    said = str(error).strip().splitlines() or [type(error).__name__]
    return BadRows(
        f"cannot be read as {kind}: {said[0][:200]}",
        where=where,
        do="it may be truncated or protected: export or download it again",
    )


# --- Parquet ---------------------------------------------------------------------------------------------------------


def read_parquet(data: bytes, *, name: str, where: str, bound: Bound | None = None) -> Sheet:
    """The cells of a Parquet file, typed as they are; they are not read yet."""
    try:
        frame = pl.scan_parquet(io.BytesIO(data))
        headers = tuple(frame.collect_schema().names())
        if bound is not None:
            check_unpacked(data, frame, bound=bound, where=where)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _damaged("Parquet", error, where) from error
    return Sheet(where, _stem(name), headers, headers, frame)


# --- text ------------------------------------------------------------------------------------------------------------


def _read_workbook(data: bytes, *, name: str, where: str, bound: Bound | None) -> Sheet:
    """The first sheet of a workbook, every cell as text."""
    try:
        cells = read_first_sheet(data) if bound is None else read_within(data, bound, where)
    except Unreadable as error:
        raise _damaged("xlsx", error, where) from error
    return _text_sheet(cells, first_line=1, name=name, where=where)


def read_csv(data: bytes, *, name: str, where: str, bound: Bound | None = None) -> Sheet:
    """A CSV with any of the usual separators; lines before the header with less than half its cells are comments."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    head = [_QUOTED.sub("", line) for line in _decode(data[: 1 << 16], where).splitlines()[:_COMMENT_LINES]]
    separator, usual = _separator(head)
    skip = next((at for at, line in enumerate(head) if 2 * line.count(separator) > usual), 0)
    if bound is not None:
        bound.check(len(data) + TEXT * (data.count(separator.encode()) + data.count(b"\n")), where)
    try:
        cells = pl.read_csv(data, has_header=False, infer_schema=False, separator=separator, skip_lines=skip)
    except pl.exceptions.PolarsError as error:
        raise _unreadable_csv(data, error, separator, skip, where) from error
    return replace(_text_sheet(cells, first_line=skip + 1, name=name, where=where), separator=separator)


def _decode(data: bytes, where: str) -> str:
    """Text, or an error that says which byte is not UTF-8; a character cut at the end is fine."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        if error.start < len(data) - 3:
            raise _not_utf8(data, error, where) from error
        text = data[: error.start].decode()
    if "\0" in text:
        raise BadRows("the file is no text, or UTF-16", where=where, do="save it as CSV UTF-8, Parquet or xlsx")
    return text


def _not_utf8(data: bytes, error: UnicodeDecodeError, where: str) -> BadRows:
    line = data.count(b"\n", 0, error.start) + 1
    return BadRows(
        f"the text is not UTF-8: byte 0x{data[error.start]:02x}",
        where=f"{where}, line {line}",
        do="save it as CSV UTF-8, Parquet or xlsx",
    )


def _separator(head: list[str]) -> tuple[str, int]:
    """The separator that most lines agree on, and how often it stands in a line."""
    best = (0, ",", 0)
    for mark in ",;\t|":
        counts = Counter(count for line in head if (count := line.count(mark)))
        for count, lines in counts.most_common(1):
            best = max(best, (lines, mark, count), key=lambda found: found[0])
    return best[1], best[2]


def _unreadable_csv(data: bytes, error: Exception, separator: str, skip: int, where: str) -> BadRows:
    """Find the line a CSV reader stumbled over; slow, and only for the error."""
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError as bad:
        return _not_utf8(data, bad, where)
    width = lines[skip].count(separator) if skip < len(lines) else 0
    for number, line in enumerate(lines[skip:], skip + 1):
        if line.count(separator) > width:
            return BadRows(
                f"{line.count(separator) + 1} cells where the first line has {width + 1}: {line[:80]!r}",
                where=f"{where}, line {number}",
                do="correct or remove the line",
            )
    return _damaged("CSV", error, where)


def _text_sheet(cells: pl.DataFrame, *, first_line: int, name: str, where: str) -> Sheet:
    """Take the header row off; a first row of nothing but numbers is no header."""
    first = next((row for row in range(min(cells.height, _COMMENT_LINES)) if _cells(cells.row(row)) > 1), None)
    if first is None:
        raise BadRows("no table of two columns or more", where=where, do="export it as CSV, Parquet or xlsx")
    row = [str(cell or "").strip() for cell in cells.row(first)]
    has_header = not all(_is_number(cell) for cell in row if cell)
    body = cells.with_row_index(LINE, first_line).slice(first + has_header)
    if body.is_empty():
        raise BadRows("a header and no rows", where=where, do="export or download it again")
    return Sheet(where, _stem(name), tuple(row) if has_header else (), tuple(cells.columns), body.lazy())


def _cells(row: tuple[object, ...]) -> int:
    return sum(cell is not None for cell in row)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
