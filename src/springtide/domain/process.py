"""A process by its name, which others on the machine can ask about after it has ended."""

from __future__ import annotations

import os
import socket
from pathlib import Path

__all__ = ["is_gone", "this_process"]

ENDED = ("Z", "X")  # states of a process that runs no more, though it is still listed


def this_process() -> str:
    """The name of this process, which no other on this host has ever had: ``host:process id:when it began``.

    Without the last part where the machine does not tell when a process began.
    """
    told = _look(os.getpid())
    return ":".join([socket.gethostname(), str(os.getpid()), *([told[1]] if told else [])])


def is_gone(process: str | None) -> bool:
    """Whether a process of this host is no more; of other hosts nothing is known.

    Of a name without its begin only the number is known. Where that is our own, it was an earlier process's, as in a
    container that is started again: ours has its begin.

    >>> is_gone(this_process()), is_gone("another-host:1:1"), is_gone(None)
    (False, False, False)
    """
    host, _, rest = (process or "").partition(":")
    number, _, born = rest.partition(":")
    if host != socket.gethostname() or not number.isdecimal():
        return False
    told = _look(int(number))
    if told is None:
        return not _answers(int(number))
    state, began = told
    return state in ENDED or (began != born if born else int(number) == os.getpid())


def _look(pid: int) -> tuple[str, str] | None:
    """The state of a process, and when it began in ticks since the machine did; None where that is not told."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0], fields[19]


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # signal 0 asks only whether there is such a process
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
