"""What a job has done in the sandbox: a task file goes in, a result, an error and files come out."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import springtide
from springtide.domain.errors import ComputeFailed, ModelRefused
from springtide.sandbox.collecting import collect, remove
from springtide.sandbox.seam import Cell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from springtide.sandbox.seam import Ended, Engine, Limits

__all__ = ["Bench", "Done"]

LIBRARY = Path(springtide.__file__).parent
MARK = "\x1e"  # before a line that is a report, not print
MOST_RESULT = 10_000_000  # bytes of result.json and error.json


@dataclass(frozen=True, slots=True)
class Done:
    """What a cell gave: its result, and the folder with its files, which lives as long as the block."""

    result: Mapping[str, Any]
    work: Path
    most: int

    def file(self, name: str) -> bytes:
        """The bytes of an output, if it is a plain file of a size that is allowed."""
        return collect(self.work, [f"out/{name}"], self.most)[f"out/{name}"].read_bytes()


@dataclass(frozen=True, slots=True)
class Bench:
    """Runs tasks of `springtide.trainers` in cells.

    `told` hears reports (plain JSON) and lines of the log.
    """

    engine: Engine
    limits: Limits
    told: Callable[[str, Mapping[str, Any]], None]

    @contextmanager
    def do(
        self, environment: str, task: Mapping[str, Any], inputs: Mapping[str, Path], *, requirements: str | None = None
    ) -> Iterator[Done]:
        """Have one task done; `inputs` are seen as ``/in/NAME``.

        Raises
        ------
        ModelRefused
            If what was sent is at fault: the error is what the cell says.
        ComputeFailed
            If it passed a limit, or ended without a word.
        """
        with tempfile.TemporaryDirectory(prefix="springtide-cell-") as name:
            folder = Path(name)
            folder.chmod(0o755)
            (folder / "task.json").write_text(json.dumps(task))
            library = folder / "lib" / "springtide"
            library.mkdir(parents=True)
            for part in ("sdk", "trainers"):
                shutil.copytree(LIBRARY / part, library / part, ignore=shutil.ignore_patterns("__pycache__"))
            work = folder / "work"
            work.mkdir()
            command = ("env", "PYTHONPATH=/in/lib", "python", "-m", "springtide.trainers.main", "/in/task.json")
            everything = {**inputs, "task.json": folder / "task.json", "lib": folder / "lib"}
            cell = Cell(environment, command, work, everything, requirements)
            try:
                ended = self.engine.run(cell, self.limits, on_line=self._hear, stop=threading.Event())
                self._check(ended, work, str(task["mode"]))
                yield Done(_read(work, "result.json", str(task["mode"])), work, self.limits.disk)
            finally:
                remove(work)

    def _hear(self, line: str) -> None:
        mark, _, report = line.partition(MARK)
        if mark or not report:
            self.told("log", {"level": "info", "line": line[:2000]})
            return
        try:
            told = msgspec.json.decode(report.encode(errors="replace"), type=dict[str, Any])
        except msgspec.DecodeError:
            told = {"line": line[:2000]}
        self.told("report", told)

    def _check(self, ended: Ended, work: Path, mode: str) -> None:
        """Say why nothing came of it."""
        if ended.reason == "finished":
            return
        where = f"the sandbox, {mode}"
        if ended.reason != "failed":
            raise ComputeFailed(
                f"it was stopped: {ended.reason} ({self._limit(ended)})",
                where=where,
                do="let it use less, or raise the limit in section [sandbox]",
            )
        if (work / "out" / "error.json").exists():
            error = _read(work, "error.json", mode)
            raise ModelRefused(str(error["what"]), where=f"{where}: {error['where']}", do=str(error["do"]))
        last = "; ".join(ended.tail.strip().splitlines()[-3:])[-500:]
        raise ComputeFailed(
            f"it ended with code {ended.code} and left no word: {last or 'nothing printed'}",
            where=where,
            do="look at the log of the job",
        )

    def _limit(self, ended: Ended) -> str:
        limits = self.limits
        return {
            "out of memory": f"more than {limits.memory / 1e9:.2f} GB",
            "out of time": f"more than {limits.seconds:g} s",
            "too much output": f"more than {limits.output / 1e6:g} MB printed",
            "disk full": f"more than {limits.disk / 1e9:.2f} GB written",
        }.get(ended.reason, f"after {ended.seconds:.0f} s")


def _read(work: Path, name: str, mode: str) -> dict[str, Any]:
    """A JSON file that the cell left."""
    text = collect(work, [f"out/{name}"], MOST_RESULT)[f"out/{name}"].read_bytes()
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ModelRefused(
            f"{name} is no JSON object: {error}", where=f"the sandbox, {mode}", do="do not write it yourself"
        ) from error
