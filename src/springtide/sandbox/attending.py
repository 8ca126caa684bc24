"""Sits by a cell while it runs: hands its lines on, looks at what it uses, ends it when it has to."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from springtide.sandbox.seam import Ended

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from springtide.sandbox.seam import Limits, Reason

__all__ = ["Chunks", "Running", "attend"]

CHUNK = 65_536  # bytes read at a time
LOOK_S = 0.05  # between two looks at memory
DISK_S = 0.25  # between two looks at the disk
LONGEST_LINE = 65_536  # bytes; a longer one comes in pieces
LEAST_LINE = 32  # bytes that even an empty line counts as: each costs us something
TAIL_LINES = 40
TAIL_CHARACTERS = 4000


class Chunks:
    """What a cell prints, from the thread that reads it to the one that hears it; a cell that is too fast waits."""

    def __init__(self) -> None:
        self._queue: queue.Queue[bytes] = queue.Queue(maxsize=16)
        self._wanted = True
        self._reader: threading.Thread | None = None

    def follow(self, process: subprocess.Popen[bytes], *, hear: Callable[[bytes], None] = lambda _chunk: None) -> None:
        """Read what a process prints in a thread of its own; see `read`."""
        self._reader = threading.Thread(target=self.read, args=(process,), kwargs={"hear": hear}, daemon=True)
        self._reader.start()

    def put(self, chunk: bytes) -> None:
        """Hand a chunk on, an empty one at the end."""
        while self._wanted:
            with suppress(queue.Full):
                self._queue.put(chunk, timeout=LOOK_S)
                return

    def read(self, process: subprocess.Popen[bytes], *, hear: Callable[[bytes], None] = lambda _chunk: None) -> None:
        """Hand on what a process prints to the end of its output, then of itself; `hear` is told it too."""
        assert process.stdout is not None
        while chunk := os.read(process.stdout.fileno(), CHUNK):
            hear(chunk)
            self.put(chunk)
        process.wait()
        self.put(b"")

    def get(self) -> bytes | None:
        """The next chunk; None when nothing came for a while."""
        try:
            return self._queue.get(timeout=LOOK_S)
        except queue.Empty:
            return None

    def stop(self) -> None:
        """Want no more: what comes is dropped, and no writer waits. A process that is followed must have been ended."""
        self._wanted = False
        if self._reader is not None:
            self._reader.join()


class Running(Protocol):
    """A cell that was started."""

    @property
    def chunks(self) -> Chunks:
        """What it prints; an empty chunk when it has ended and all was read."""

    def memory(self) -> int:
        """Bytes in use by all its processes."""

    def disk(self) -> float:
        """Bytes that it has written."""

    def close(self) -> None:
        """End all its processes if they have not, and wait until none lives."""

    def end(self) -> tuple[int, Reason | None]:
        """Its code, and the reason where the engine knows one, when it has ended."""


def attend(running: Running, limits: Limits, *, on_line: Callable[[str], None], stop: threading.Event) -> Ended:
    """Stay until nothing of the cell lives any more, also when `on_line` raises."""
    watch = _Watch(running, limits, stop)
    printed = _Printed(limits.output)
    reason: Reason | None = None
    try:
        for line in printed.lines(running.chunks):
            if line is not None:
                on_line(line)
            reason = "too much output" if printed.too_much else watch.look()
            if reason:
                break
    finally:
        running.close()
    code, known = running.end()
    reason = reason or watch.last_word() or known
    return Ended(
        reason=reason or ("failed" if code else "finished"),
        code=code if reason is None else None,
        seconds=time.monotonic() - watch.began,
        peak_memory=watch.peak,
        tail="\n".join(printed.tail)[-TAIL_CHARACTERS:],
    )


class _Watch:
    """Looks at what a cell uses, as often as is due."""

    def __init__(self, running: Running, limits: Limits, stop: threading.Event) -> None:
        self._running, self._limits, self._stop = running, limits, stop
        self.began = time.monotonic()
        self.peak = 0
        self._next_look = self._next_disk = 0.0

    def look(self) -> Reason | None:
        """The limit that is passed, if one is."""
        now = time.monotonic()
        if now < self._next_look:
            return None
        self._next_look = now + LOOK_S
        if self._stop.is_set():
            return "stopped"
        if now - self.began > self._limits.seconds:
            return "out of time"
        self.peak = max(self.peak, self._running.memory())
        if self.peak > self._limits.memory:
            return "out of memory"
        if now >= self._next_disk:
            self._next_disk = now + DISK_S
            return self.last_word()
        return None

    def last_word(self) -> Reason | None:
        """The disk may have been filled since the last look."""
        return "disk full" if self._running.disk() > self._limits.disk else None


class _Printed:
    """Bytes become lines; the last ones are kept, and all are counted."""

    def __init__(self, most: int) -> None:
        self._left = most
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)

    @property
    def too_much(self) -> bool:
        return self._left < 0

    def lines(self, chunks: Chunks) -> Iterator[str | None]:
        """Each line as it is complete; None when nothing came for a while."""
        begun, chunk = b"", None
        while chunk != b"":
            chunk = chunks.get()
            if chunk is None:
                yield None
                continue
            *whole, begun = (begun + chunk).split(b"\n")
            if begun and (not chunk or len(begun) >= LONGEST_LINE):
                whole, begun = [*whole, begun], b""
            for line in whole:
                yield self._count(line)

    def _count(self, line: bytes) -> str:
        self._left -= max(len(line) + 1, LEAST_LINE)
        text = line.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
        self.tail.append(text)
        return text
