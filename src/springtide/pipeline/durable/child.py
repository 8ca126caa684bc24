"""The process that does the steps of a run, seen from the worker: asked in lines of JSON, watched, and killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Child", "ChildGone"]


class ChildGone(Exception):
    """The process ended before it answered; `why` says so in words for people."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(eq=False)
class Child:
    """One process for steps, in a process group of its own, so that what it starts dies with it.

    It is started before it is needed: the libraries it trains with take seconds to import.
    """

    command: Sequence[str]
    done: int = 0  # runs that it has worked on
    _killed: str | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        self._process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def ask(self, **question: Any) -> dict[str, Any]:
        """Send a question and wait for its answer.

        Raises
        ------
        ChildGone
            If the process has ended, by itself or because it was killed.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except (BrokenPipeError, ValueError):
            line = ""
        if not line:
            raise ChildGone(self._why_gone())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def kill(self, why: str) -> None:
        """End it and all it has started, at once."""
        with self._lock:
            self._killed = self._killed or why
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # it was quicker

    def close(self) -> None:
        """End it when it has nothing to do."""
        self.kill("no longer needed")
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue  # what was still to be sent has no reader any more

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def memory(self) -> int:
        """Resident bytes of it and of all it has started."""
        try:
            process = psutil.Process(self._process.pid)
            everyone = [process, *process.children(recursive=True)]
            return sum(one.memory_info().rss for one in everyone if one.is_running())
        except psutil.NoSuchProcess:
            return 0

    def _why_gone(self) -> str:
        code = self._process.wait()
        if self._killed:
            return self._killed
        if code == -signal.SIGKILL:
            return "the process of the run was killed from outside, perhaps because the machine ran out of memory"
        if code < 0:
            return f"the process of the run was ended by {signal.Signals(-code).name}"
        return f"the process of the run ended by itself with code {code}"
