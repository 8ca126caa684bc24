"""Reads the first sheet of a workbook in a process of its own, which may take no more memory than was said.

What a workbook comes to is known only when it is read: one text may be kept once and stand in a million cells, and two
cells may be far apart.
"""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import fastexcel
import polars as pl

if TYPE_CHECKING:
    from springtide.sources.files.unpacked import Bound

__all__ = ["Unreadable", "read_first_sheet", "read_within"]

SECONDS = 600.0
UNREADABLE, TOO_LARGE = 3, 4  # what the process ends with where it is no workbook, and where its memory is used up
FREE = 256 << 20  # bytes that the libraries take by themselves
_KEPT = ("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "TMPDIR")  # variables that the process sees
_ONE_THREAD = {"POLARS_MAX_THREADS": "1", "RAYON_NUM_THREADS": "1"}


class Unreadable(Exception):
    """The bytes are no workbook; the message says why."""


def read_first_sheet(data: bytes) -> pl.DataFrame:
    """Every cell of the first sheet as text.

    Raises
    ------
    Unreadable
        If there is none.
    """
    try:
        return pl.read_excel(
            data,
            engine="calamine",
            has_header=False,
            infer_schema_length=0,
            drop_empty_rows=False,
            drop_empty_cols=False,
        )
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, fastexcel.FastExcelError) as error:
        raise Unreadable(str(error)) from error


def read_within(data: bytes, bound: Bound, where: str) -> pl.DataFrame:
    """Do the same in a process that ends where it would take more than `bound`.

    Raises
    ------
    Unreadable
        If there is no sheet.
    TooLarge
        If it takes more, or longer than ten minutes.
    """
    command = [sys.executable, "-P", "-m", "springtide.sources.files.workbook", str(bound.most)]
    environment = {**{name: os.environ[name] for name in _KEPT if name in os.environ}, **_ONE_THREAD}
    try:
        done = subprocess.run(command, input=data, env=environment, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as late:
        raise bound.exceeded(where) from late
    if done.returncode == UNREADABLE:
        raise Unreadable(done.stderr.decode(errors="replace"))
    if done.returncode == TOO_LARGE or done.returncode < 0:  # Rust ends a process that gets no memory by a signal
        raise bound.exceeded(where)
    if done.returncode:
        raise RuntimeError(f"the reader of workbooks failed: {done.stderr.decode(errors='replace')[-500:]}")
    cells = pl.read_ipc(io.BytesIO(done.stdout))
    bound.check(int(cells.estimated_size()), where)
    return cells


def main(most: int) -> int:
    """Read a workbook from standard input, and write its first sheet to standard output as Arrow."""
    data = sys.stdin.buffer.read()
    taken = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (taken + FREE + most, taken + FREE + most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        read_first_sheet(data).write_ipc(sys.stdout.buffer)
    except Unreadable as error:
        sys.stderr.write(str(error))
        return UNREADABLE
    except MemoryError:
        return TOO_LARGE
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
