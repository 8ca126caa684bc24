"""Keeps programs running: what dies is started again, later each time; one signal stops them all."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Program", "keep_up"]

LOOK_S = 0.1
MOST_WAIT_S = 30.0
STEADY_S = 60.0  # after which a program that dies is started again at once
REFUSED = 2  # exit code of a program that cannot start as things stand


@dataclass(eq=False)
class Program:
    """A command, and how it has fared."""

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    wait_s: float = 0.0
    start_at: float = field(default_factory=time.monotonic)

    def start(self) -> None:
        """Start it in a process group of its own: a terminal's Ctrl-C reaches only the one who keeps it up.

        Where the system can, it is told to stop when that one is killed.
        """
        self.process = subprocess.Popen(self.command, start_new_session=True, preexec_fn=_stop_with_parent)  # noqa: PLW1509 # one thread
        self.started = time.monotonic()

    def look(self) -> int | None:
        """Start it when it is due; its exit code where it has just ended."""
        now = time.monotonic()
        if self.process is None:
            if now >= self.start_at:
                self.start()
            return None
        code = self.process.poll()
        if code is None:
            return None
        self.process = None
        self.wait_s = 0.5 if now - self.started > STEADY_S else min(MOST_WAIT_S, max(0.5, 2 * self.wait_s))
        self.start_at = now + self.wait_s
        return code


def keep_up(programs: Sequence[Program], *, grace_s: float) -> int:
    """Start programs and keep them running until SIGINT or SIGTERM; the exit code is 2 where one cannot start.

    A program that refuses to start (exit code 2) the first time ends everything: starting it again would not help.
    """
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    result = 0
    while not told.wait(LOOK_S):
        for program in programs:
            code = program.look()
            if code == REFUSED and time.monotonic() - program.started < STEADY_S and program.wait_s <= 0.5:
                result = REFUSED
                told.set()
            elif code is not None:
                _say(f"{program.name} ended with code {code}; it starts again in {program.wait_s:g} s")
    _stop(programs, grace_s)
    return result


def _stop_with_parent() -> None:
    """Linux tells a process of its parent's end, if it has asked for it (prctl.h: PR_SET_PDEATHSIG is 1)."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(1, signal.SIGTERM)


def _stop(programs: Sequence[Program], grace_s: float) -> None:
    running = [program.process for program in programs if program.process is not None]
    for process in running:
        process.terminate()
    until = time.monotonic() + grace_s
    for process in running:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _say(line: str) -> None:
    sys.stderr.write(f"springtide: {line}\n")
    sys.stderr.flush()
