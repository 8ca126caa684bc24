"""Cells as plain processes, where there is no sandbox: limits and no walls, so for the project's own trainers alone."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from springtide.sandbox.attending import Chunks, attend
from springtide.sandbox.measuring import bytes_resident, bytes_written, tree
from springtide.sandbox.workplace import OPEN_FILES, SLACK, made_ready, variables

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from springtide.domain.errors import NotReady
    from springtide.sandbox.environments import Environments
    from springtide.sandbox.seam import Cell, Ended, Limits, Reason

__all__ = ["Plain"]

PLACE = re.compile(r'(^|[="])/(in|work)(?=/)')  # where other engines show inputs and the work folder
# Dies with its parent, whatever kills that (prctl 1 is PR_SET_PDEATHSIG), and has limits before it is the command.
BEGIN = """
import ctypes, os, resource, sys
ctypes.CDLL(None).prctl(1, 9)
for limit, most in ((resource.RLIMIT_FSIZE, int(sys.argv[1])), (resource.RLIMIT_NOFILE, int(sys.argv[2])), (resource.RLIMIT_CORE, 0)):
    resource.setrlimit(limit, (most, most))
os.execvp(sys.argv[3], sys.argv[3:])
"""


class Plain:
    """Runs cells as processes of this user.

    Parameters
    ----------
    environments : Environments
        Where Python environments are kept.
    missing : NotReady
        Why there is no sandbox; what whoever sends foreign code is told.
    """

    name = "plain"

    def __init__(self, environments: Environments, missing: NotReady) -> None:
        self._environments, self._missing = environments, missing

    def admit_foreign(self) -> None:
        """See `Engine.admit_foreign`: never."""
        raise self._missing

    def build(self, environment: str, requirements: str | None, on_line: Callable[[str], None]) -> str:
        """See `Engine.build`."""
        return self._environments.build(environment, requirements, on_line)

    def run(self, cell: Cell, limits: Limits, *, on_line: Callable[[str], None], stop: threading.Event) -> Ended:
        """See `Engine.run`."""
        (environment,) = self._environments.find(cell.environment, None)
        with made_ready(cell, os.geteuid()), _started(cell, limits, environment) as running:
            return attend(running, limits, on_line=on_line, stop=stop)


@contextmanager
def _started(cell: Cell, limits: Limits, environment: Path) -> Iterator[_Running]:
    """Start it, and let nothing of it outlive the block."""
    inputs = cell.work.with_name("in")
    inputs.mkdir()
    for name, source in cell.inputs.items():
        _show(source, inputs / name, cell.work)
    own = variables(limits, path=f"{environment / 'bin'}:{os.defpath}")
    begin = [sys.executable, "-c", BEGIN, str(limits.disk + SLACK), str(OPEN_FILES)]
    with subprocess.Popen(
        [*begin, *(_placed(word, cell.work) for word in cell.command)],
        cwd=cell.work,
        env={name: _placed(value, cell.work) for name, value in own.items()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        running = _Running(process, cell)
        try:
            yield running
        finally:
            running.close()


def _show(source: Path, place: Path, work: Path) -> None:
    """Let an input be found; a folder's files of JSON name places as cells see them, and are written anew."""
    if not source.is_dir():
        try:
            place.hardlink_to(source)  # no link of the other kind: a model behind one is refused
        except OSError:
            shutil.copyfile(source, place)
        return
    place.mkdir()
    for one in source.iterdir():
        if one.suffix == ".json":
            (place / one.name).write_text(_placed(one.read_text(encoding="utf-8"), work), encoding="utf-8")
        else:
            (place / one.name).symlink_to(one)


def _placed(text: str, work: Path) -> str:
    """A text in which places of a cell are those of this machine."""
    there = {"in": work.with_name("in"), "work": work}
    return PLACE.sub(lambda found: f"{found[1]}{there[found[2]]}", text)


class _Running:
    """A process that was started, in a session of its own."""

    def __init__(self, process: subprocess.Popen[bytes], cell: Cell) -> None:
        self._process, self._cell = process, cell
        self.chunks = Chunks()
        self.chunks.follow(process)

    def memory(self) -> int:
        """See `Running.memory`."""
        return bytes_resident(tree(self._process.pid))

    def disk(self) -> float:
        """See `Running.disk`."""
        return bytes_written(self._cell.work, tree(self._process.pid))

    def close(self) -> None:
        """See `Running.close`."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.chunks.stop()

    def end(self) -> tuple[int, Reason | None]:
        """See `Running.end`."""
        return self._process.wait(), None
