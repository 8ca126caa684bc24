"""What a job has done in the sandbox: a task file goes in, a result, an error and files come out."""

from __future__ import annotations

import json
import shutil
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import springtide
from springtide.domain.errors import ComputeFailed, ModelRefused
from springtide.sandbox.collecting import collect
from springtide.sandbox.leftovers import owned_folder, sweep_folders
from springtide.sandbox.seam import Cell

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from springtide.pipeline.telling import Telling
    from springtide.sandbox.seam import Ended, Engine, Limits

__all__ = ["Bench", "Done"]

LIBRARY = Path(springtide.__file__).parent
MARK = "\x1e"  # before a line that is a report, not print
MOST_RESULT = 10_000_000  # bytes of result.json and error.json
LONGEST = 2000  # letters of a line that are kept


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a task: its result, and its files, which are there as long as the block; or why nothing came of it."""

    mode: str
    folder: str  # below /work
    work: Path
    most: int
    refused: ModelRefused | None = None

    @property
    def result(self) -> Mapping[str, Any]:
        """What the task says of itself.

        Raises
        ------
        ModelRefused
            If nothing came of it.
        """
        if self.refused is not None:
            raise self.refused
        return _read(self.work, f"{self.folder}/result.json", self.mode)

    def file(self, name: str) -> bytes:
        """The bytes of an output, if it is a plain file of a size that is allowed."""
        if self.refused is not None:
            raise self.refused
        path = f"{self.folder}/{name}"
        return collect(self.work, [path], self.most)[path].read_bytes()

    def has(self, name: str) -> bool:
        """Whether there is an output of that name."""
        return (self.work / self.folder / name).exists()


@dataclass(frozen=True, slots=True)
class Bench:
    """Runs tasks of `springtide.trainers` in cells; `told` hears their reports and the lines of their log."""

    engine: Engine
    limits: Limits
    told: Telling

    @contextmanager
    def do(
        self,
        environment: str,
        tasks: Sequence[Mapping[str, Any]],
        inputs: Mapping[str, Path],
        *,
        requirements: str | None = None,
    ) -> Iterator[list[Done]]:
        """Have tasks done one after the other in one process, until one fails; `inputs` are seen as ``/in/NAME``.

        Raises
        ------
        ComputeFailed
            If the process passed a limit, or ended without a word.
        """
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
                ended = self.engine.run(cell, self.limits, on_line=self._hear, stop=never)
            finally:
                self.told.flush()
            yield [self._done(ended, work, str(number), str(task["mode"])) for number, task in enumerate(tasks)]

    def _hear(self, line: str) -> None:
        words, _, report = line.partition(MARK)
        if words.strip():
            self.told("log", {"level": "info", "line": words.rstrip()[:LONGEST]})
        if not report:
            return
        try:
            told = msgspec.json.decode(report.encode(errors="replace"), type=dict[str, Any])
        except msgspec.DecodeError:
            told = {"line": report[:LONGEST]}
        self.told("report", told)

    def _done(self, ended: Ended, work: Path, folder: str, mode: str) -> Done:
        """What came of one task, or who is at fault that nothing did."""
        where = f"the sandbox, {mode}"
        if ended.reason not in ("finished", "failed"):
            raise ComputeFailed(
                f"it was stopped: {ended.reason} ({self._limit(ended)})",
                where=where,
                do="let it use less, or raise the limit in section [sandbox]",
            )
        done = Done(mode, folder, work, self.limits.disk)
        if done.has("result.json"):
            return done
        if done.has("error.json"):
            error = _read(work, f"{folder}/error.json", mode)
            said = {key: str(error.get(key, "not told"))[:2000] for key in ("what", "where", "do")}
            return replace(done, refused=ModelRefused(said["what"], where=f"{where}: {said['where']}", do=said["do"]))
        if ended.reason == "failed" and folder != "0":
            return replace(done, refused=ModelRefused("a task before it failed", where=where, do="see there"))
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


def _read(work: Path, path: str, mode: str) -> dict[str, Any]:
    """A JSON file that the cell left."""
    text = collect(work, [path], MOST_RESULT)[path].read_bytes()
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ModelRefused(
            f"{path} is no JSON object: {error}", where=f"the sandbox, {mode}", do="do not write it yourself"
        ) from error
