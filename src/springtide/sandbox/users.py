"""A user for each cell, of which nobody else on the machine is: what one cell uses up, no other one lacks."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from springtide.domain.errors import NotReady

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["FIRST", "MANY", "lent_user"]

FIRST, MANY = 52_000, 256  # uids that distributions leave to the administrator


@contextmanager
def lent_user(*, taken: Callable[[int], bool] = lambda _uid: False) -> Iterator[int]:
    """A uid that no other cell has meanwhile; our own where we are not root and cannot become another.

    An abstract Unix socket with the uid in its name is the lock: it goes with this process, also when it is killed.
    What outlives the process is asked for by `taken`, while the lock is held.
    """
    if os.geteuid() != 0:
        yield os.geteuid()
        return
    for uid in range(FIRST, FIRST + MANY):
        with socket.socket(socket.AF_UNIX) as lock:
            try:
                lock.bind(f"\0springtide-cell-{uid}")
            except OSError:
                continue
            if taken(uid):
                continue
            yield uid
            return
    raise NotReady(f"{MANY} cells run already", where="this machine", do="wait until one of them has ended")
