"""What a job has done in the sandbox: a task file goes in, a result, an error and files come out."""

from __future__ import annotations

import json
import os
import shutil
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import springtide
from springtide.domain.errors import ComputeFailed, ModelRefused
from springtide.pipeline.jobs.results import read_error, read_result
from springtide.sandbox.collecting import collect
from springtide.sandbox.leftovers import owned_folder, sweep_folders
from springtide.sandbox.seam import Cell
from springtide.sdk.reporting import read_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from springtide.pipeline.telling import Telling
    from springtide.sandbox.seam import Ended, Engine, Limits

__all__ = ["Bench", "CellFailed", "Done"]

LIBRARY = Path(springtide.__file__).parent
LONGEST = 2000  # letters of a line that are kept


class CellFailed(ComputeFailed):
    """What ran in a cell passed a limit, or ended without a word: its own fault, not that of the machine."""


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a task: its result, and its files, which are there as long as the block; or why nothing came of it."""

    work: Path
    folder: str  # below /work
    task: Mapping[str, Any]
    largest: int  # bytes of a file that is taken
    refused: ModelRefused | None = None

    @property
    def result(self) -> Mapping[str, Any]:
        """What the task says of itself.

        Raises
        ------
        ModelRefused
            If nothing came of it, or it says what it cannot say.
        """
        if self.refused is not None:
            raise self.refused
        return read_result(self.work, self.folder, self.task["mode"], by_script="script" in self.task)

    def path(self, name: str) -> Path:
        """Where an output lies, if it is a plain file of a size that is allowed, holes in it included.

        Raises
        ------
        ModelRefused
            If it is not, or nothing came of the task.
        """
        if self.refused is not None:
            raise self.refused
        output = f"{self.folder}/{name}"
        return collect(self.work, [output], self.largest)[output]

    def file(self, name: str) -> bytes:
        """The bytes of an output; see `path`."""
        return self.path(name).read_bytes()

    def has(self, name: str) -> bool:
        """Whether there is an output of that name, of whatever kind."""
        return os.path.lexists(self.work / self.folder / name)


@dataclass(frozen=True, slots=True)
class Bench:
    """Runs tasks of `springtide.trainers` in cells; `told` hears their reports and the lines of their log.

    `largest` is the size in bytes of the largest file that is taken from one.
    """

    engine: Engine
    limits: Limits
    told: Telling
    largest: int

    @contextmanager
    def do(
        self,
        environment: str,
        tasks: Sequence[Mapping[str, Any]],
        inputs: Mapping[str, Path],
        *,
        requirements: str | None = None,
        foreign: bool = True,
        most_s: float | None = None,
    ) -> Iterator[list[Done]]:
        """Have tasks done one after the other in one process, until one fails; `inputs` are seen as ``/in/NAME``.

        Parameters
        ----------
        environment, tasks, inputs, requirements
            See `Cell` and `springtide.trainers.task`.
        foreign : bool
            Whether anything among the inputs but rows was written by others.
        most_s : float or None
            Seconds that all of it may take, where that is less than the limit of every cell.

        Raises
        ------
        NotReady
            If it is foreign and there is no sandbox.
        CellFailed
            If the process passed a limit, or ended without a word.
        ComputeFailed
            If the engine failed.
        """
        if foreign:
            self.engine.admit_foreign()
        limits = self.limits if most_s is None else replace(self.limits, seconds=min(self.limits.seconds, most_s))
        sweep_folders()  # what others left takes room that this one may need
        with owned_folder() as folder:
            folder.chmod(0o755)
            library = folder / "lib" / "springtide"
            for part in ("sdk", "trainers"):
                shutil.copytree(LIBRARY / part, library / part, ignore=shutil.ignore_patterns("__pycache__"))
            (folder / "tasks").mkdir()
            asked = []
            for number, task in enumerate(tasks):
                (folder / "tasks" / f"{number}.json").write_text(json.dumps({**task, "out": f"/work/{number}"}))
                asked.append(f"/in/tasks/{number}.json")
            work = folder / "work"
            work.mkdir()
            command = ("env", "PYTHONPATH=/in/lib", "python", "-m", "springtide.trainers.main", *asked)
            everything = {**inputs, "tasks": folder / "tasks", "lib": folder / "lib"}
            cell = Cell(environment, command, work, everything, requirements)
            never = threading.Event()  # who stops a run kills this process, and sweeps
            try:
                ended = self.engine.run(cell, limits, on_line=self._hear, stop=never)
            finally:
                self.told.settle()
            yield [self._done(ended, work, str(number), task, limits) for number, task in enumerate(tasks)]

    def _hear(self, line: str) -> None:
        report = read_line(line)
        if report is not None:
            self.told("report", report)
        elif line.strip():
            self.told("log", {"level": "info", "line": line.rstrip()[:LONGEST]})

    def _done(self, ended: Ended, work: Path, folder: str, task: Mapping[str, Any], limits: Limits) -> Done:
        """What came of one task, or who is at fault that nothing did."""
        where = f"the sandbox, {task['mode']}"
        if ended.reason not in ("finished", "failed"):
            raise CellFailed(
                f"it was stopped: {ended.reason} ({_limit(ended, limits)})",
                where=where,
                do="let it use less, or raise the limit in section [sandbox]",
            )
        done = Done(work, folder, task, self.largest)
        if done.has("error.json"):  # first: a script that failed may have written the other
            said = read_error(work, folder, task["mode"])
            return replace(done, refused=ModelRefused(said["what"], where=f"{where}: {said['where']}", do=said["do"]))
        if done.has("result.json"):
            return done
        if ended.reason == "failed" and folder != "0":
            return replace(done, refused=ModelRefused("a task before it failed", where=where, do="see there"))
        last = "; ".join(ended.tail.strip().splitlines()[-3:])[-500:]
        raise CellFailed(
            f"it ended with code {ended.code} and left no word: {last or 'nothing printed'}",
            where=where,
            do="look at the log of the job",
        )


def _limit(ended: Ended, limits: Limits) -> str:
    """Which limit was passed, in words."""
    return {
        "out of memory": f"more than {limits.memory / 1e9:.2f} GB",
        "out of time": f"more than {limits.seconds:g} s",
        "too much output": f"more than {limits.output / 1e6:g} MB printed",
        "disk full": f"more than {limits.disk / 1e9:.2f} GB written",
    }.get(ended.reason, f"after {ended.seconds:.0f} s")
