"""A file, or a folder whose files are brought in as they land, each once."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from springtide.domain.errors import BadRows, NotFound, SettingsError, SourceUnavailable, did_you_mean
from springtide.domain.rows import SERIES, TIME
from springtide.domain.units import format_span, parse_span
from springtide.sources.candles import CANDLES, check, find_gaps, infer_step
from springtide.sources.files.contents import SUFFIXES, read_sheets
from springtide.sources.files.formats import OURS
from springtide.sources.files.pairs import step_in_name
from springtide.sources.files.rows import Wanted, read_rows
from springtide.sources.seam import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

__all__ = ["FilesSource", "is_ready"]

STEP_MARK = "files:step_s"
IRREGULAR = "irregular"  # the timeframe of rows that come when they come: funding rates, events


class FilesSource:
    """Rows of files; a file is known by the SHA-256 of its bytes, so an unchanged one is not read again.

    Parameters
    ----------
    path
        A file, or a folder that is searched with all folders in it. Hidden files and names that end like a download
        in progress (``.part``, ``.tmp``) are left alone.
    name
        The source's name in the settings.
    columns
        Our column name to the file's own, before what is recognised.
    series
        The `unique_id` of files that do not name their series.
    timeframe
        Length of a step, guessed from the rows when not given; `IRREGULAR` for rows that come at no fixed step.
    now
        The clock: a row is brought in only when its step is over.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        name: str,
        now: Callable[[], datetime],
        columns: Mapping[str, str] | None = None,
        series: str | None = None,
        timeframe: str | None = None,
    ) -> None:
        self.name = name
        self._path = Path(path)
        self._now = now
        self._irregular = timeframe == IRREGULAR
        self._step_s = None if timeframe in (None, IRREGULAR) else int(parse_span(timeframe).total_seconds())
        self._wanted = Wanted(dict(columns or {}), series, self._step_s)
        if unknown := [ours for ours in self._wanted.columns if ours not in OURS]:
            raise SettingsError(
                f"columns names {unknown[0]!r}, which is no column of ours",
                where=f"[sources.{name}]",
                do=f"write our name first: {did_you_mean(unknown[0], OURS)}",
            )

    def step_s(self) -> int | None:
        """Seconds between two rows: from the settings, or after the first batch; None where there is no fixed step."""
        return self._step_s

    def batches(self, mark: Callable[[str], int | None]) -> Iterator[Batch]:
        """Yield one batch per file that is new or changed, in the order of their names.

        Raises
        ------
        NotFound
            When there is neither a file nor a folder.
        BadRows
            For the first file that cannot be read; the files before it were yielded.
        """
        if not self._irregular:
            self._step_s = self._step_s or mark(STEP_MARK)
        files = self._list_files()
        if not files:
            yield Batch(CANDLES.to_frame(), {}, note=f"no CSV, Parquet, xlsx or zip in {self._path} yet")
        for at, file in enumerate(files, 1):
            data = _read(file)
            if data is None:
                yield Batch(CANDLES.to_frame(), {}, note=f"{file.name}: being written, left for the next call")
                continue
            digest = f"files:{hashlib.sha256(data).hexdigest()}"
            if mark(digest) is None:
                yield self._batch(file, data, digest=digest, done=at / len(files))

    def _list_files(self) -> list[Path]:
        if self._path.is_file():
            return [self._path]
        if not self._path.is_dir():
            raise NotFound("no such file or folder", where=str(self._path), do=f"correct path in [sources.{self.name}]")
        return sorted(file for file in self._path.rglob("*") if is_ready(file, self._path))

    def _batch(self, file: Path, data: bytes, *, digest: str, done: float) -> Batch:
        where = str(file)
        rows, notes = self._read_all(data, name=file.name, where=where)
        if self._irregular:
            return self._irregular_batch(rows, notes, file=file, digest=digest, done=done)
        self._step_s = self._find_step(rows, stem=file.name, where=where)
        closed = rows.filter(pl.col(TIME) + timedelta(seconds=self._step_s) <= self._now())
        notes.append(_summary(closed, self._step_s))
        if opened := rows.height - closed.height:
            notes.append(f"{opened} not closed yet: left out")
        return Batch(
            rows=closed,
            marks={digest: 1, STEP_MARK: self._step_s},
            gaps=find_gaps(closed, self._step_s),
            note=f"{file.name}: " + "; ".join(notes),
            done=done,
        )

    def _irregular_batch(self, rows: pl.DataFrame, notes: list[str], *, file: Path, digest: str, done: float) -> Batch:
        """Rows without a grid: none is missing, and each is known at its time."""
        past = rows.filter(pl.col(TIME) <= self._now())
        notes.append(f"{past.height} rows at no fixed step, {_series(past)}")
        if ahead := rows.height - past.height:
            notes.append(f"{ahead} of a time to come: left out")
        return Batch(rows=past, marks={digest: 1}, note=f"{file.name}: " + "; ".join(notes), done=done)

    def _read_all(self, data: bytes, *, name: str, where: str) -> tuple[pl.DataFrame, list[str]]:
        """The rows of all sheets of a file, and one note for each way they were recognised."""
        parts = [read_rows(sheet, self._wanted) for sheet in read_sheets(data, name=name, where=where)]
        frames = [rows for rows, _ in parts]
        notes = list(dict.fromkeys(note for _, note in parts))
        if len(frames) == 1:
            return frames[0], notes
        if any(frame.schema != frames[0].schema for frame in frames):
            raise BadRows(
                "candles and plain series in one zip", where=where, do="bring them in as two sources and two tables"
            )
        return check(pl.concat(frames), where=where, schema=frames[0].schema), notes

    def _find_step(self, rows: pl.DataFrame, *, stem: str, where: str) -> int:
        """The step of the settings or of earlier files, which these rows must fit; else what the rows or the name say."""
        step_s = infer_step(rows, where=where, step_s=self._step_s) or step_in_name(stem)
        if step_s is None:
            raise BadRows(
                "no series has two rows, so they do not say how long a step is",
                where=where,
                do=f'set timeframe = "1h" in [sources.{self.name}]',
            )
        return step_s


def is_ready(file: Path, folder: Path) -> bool:
    """A data file that is not hidden; one in progress ends with .part or .tmp and so has no known ending yet."""
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return not hidden and file.name.lower().endswith(SUFFIXES) and file.is_file()


def _read(file: Path) -> bytes | None:
    """The bytes of a file; None when it changed while it was read."""
    try:
        before = file.stat()
        data = file.read_bytes()
        after = file.stat()
    except OSError as error:
        raise SourceUnavailable(
            f"cannot be read: {error.strerror}", where=str(file), do="check that it is there and may be read"
        ) from error
    return data if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns) else None


def _summary(rows: pl.DataFrame, step_s: int) -> str:
    return f"{rows.height} rows of {format_span(timedelta(seconds=step_s))}, {_series(rows)}"


def _series(rows: pl.DataFrame) -> str:
    names = rows[SERIES].unique().sort().to_list()
    return names[0] if len(names) == 1 else f"{len(names)} series"
