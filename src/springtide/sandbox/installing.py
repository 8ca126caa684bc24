"""pip, which runs outside of any cell: what it sees of ours, how long it may take, and how much room."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from springtide.domain.errors import ComputeFailed
from springtide.domain.passwords import without_password
from springtide.sandbox.attending import Chunks, attend
from springtide.sandbox.collecting import remove
from springtide.sandbox.measuring import NO_END, bytes_resident, bytes_written, tree
from springtide.sandbox.seam import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from springtide.sandbox.seam import Ended, Reason

__all__ = ["FRAMEWORK", "LAYER", "install", "make_empty", "variables_for_pip"]

KEPT = (
    *("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "NETRC", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)
# A gigabyte of wheels over a slow line, which somebody waits for who asked for it ...
FRAMEWORK = Limits(NO_END, cpus=1, processes=0, disk=NO_END, seconds=3600, output=NO_END)
# ... and what a script wants besides, of which a stranger chose the names: with what is downloaded on the way.
LAYER = Limits(NO_END, cpus=1, processes=0, disk=4_000_000_000, seconds=600, output=16_000_000)


def make_empty(folder: Path, on_line: Callable[[str], None]) -> None:
    """An environment without packages, of the interpreter below any virtual environment of ours."""
    python = str(getattr(sys, "_base_executable", sys.executable))
    _run([python, "-m", "venv", "--without-pip", str(folder)], folder, FRAMEWORK, on_line)


def install(folder: Path, wanted: list[str], limits: Limits, on_line: Callable[[str], None]) -> None:
    """With the pip beside us; only wheels: they are unpacked, nothing of theirs is run.

    Raises
    ------
    ComputeFailed
        If packages are not to be had, or it passes a limit.
    """
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]
    downloads = folder / ".downloads"
    downloads.mkdir()
    _run([*pip, "install", "--no-cache-dir", "--no-input", "--only-binary", ":all:", *wanted], folder, limits, on_line)
    remove(downloads)


def variables_for_pip(environ: Mapping[str, str]) -> dict[str, str]:
    """What pip may see: where packages come from and the way there, and no secret of ours."""
    return {
        name: value
        for name, value in environ.items()
        if name in KEPT or name.startswith("PIP_") or name.lower().endswith("_proxy")
    }


def _run(command: list[str], folder: Path, limits: Limits, on_line: Callable[[str], None]) -> None:
    errors: list[str] = []

    def hear(line: str) -> None:
        plain = without_password(line.rstrip())
        on_line(plain)
        if plain.startswith("ERROR:"):
            errors.append(plain.removeprefix("ERROR:").strip())

    environment = {**variables_for_pip(os.environ), "TMPDIR": str(folder / ".downloads")}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        ended = attend(_Running(process, folder), limits, on_line=hear, stop=threading.Event())
    if ended.reason != "finished":
        raise ComputeFailed(
            f"packages cannot be installed: {_why(ended, limits, errors)}",
            where="the build of an environment",
            do="check names and versions, and that the package index can be reached",
        )


def _why(ended: Ended, limits: Limits, errors: list[str]) -> str:
    match ended.reason:
        case "out of time":
            return f"it took more than {limits.seconds / 60:g} minutes"
        case "disk full":
            return f"they take more than {limits.disk / 1e9:g} GB, or the disk is full"
        case "too much output":
            return f"pip printed more than {limits.output / 1e6:g} MB"
        case _:
            return without_password("; ".join(errors) or ended.tail)[-500:]


class _Running:
    """A process in the group of this one: whoever ends ours from outside, with all it has started, ends it too."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self._process, self._folder = process, folder
        self.chunks = Chunks()
        self.chunks.follow(process)

    def memory(self) -> int:
        """See `Running.memory`."""
        return bytes_resident(tree(self._process.pid))

    def disk(self) -> float:
        """See `Running.disk`."""
        return bytes_written(self._folder, tree(self._process.pid))

    def close(self) -> None:
        """See `Running.close`: pip does its work in a second process."""
        for pid in tree(self._process.pid) if self._process.poll() is None else []:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.chunks.stop()

    def end(self) -> tuple[int, Reason | None]:
        """See `Running.end`."""
        return self._process.wait(), None
