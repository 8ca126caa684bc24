"""What a run tells while it goes on, written in batches: soon enough to be followed, seldom enough for all who write."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from springtide.domain.clock import utc_now
from springtide.domain.errors import NotReady, StoreFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

__all__ = ["FIRST", "MANY", "MOST", "Telling"]

SOON_S = 0.25  # in which everything is written
PATIENCE_S = 60.0
MANY = 500  # events that are written at once, however soon they came
FIRST, MOST = 10_000, 20_000  # events of a kind that are written as they come, and in all
WORDS = {"log": "lines", "report": "reports"}

Told = tuple[str, "Mapping[str, Any]", "datetime"]


@dataclass(slots=True)
class _Share:
    """What is still kept of one kind."""

    left: int
    held: deque[Told] = field(default_factory=lambda: deque(maxlen=MOST - FIRST))
    passed: int = 0  # events that were held, or are no more

    def is_open(self) -> bool:
        """Whether an event is written as it comes."""
        if self.left <= MOST - FIRST:
            return False
        self.left -= 1
        return True

    def hold(self, event: Told) -> None:
        self.held.append(event)
        self.passed += 1

    def last(self) -> tuple[int, list[Told]]:
        """How many are left out, and the last ones: at most half of what may still be kept, as there may be more ends."""
        many = min(len(self.held), self.left // 2)
        kept = list(self.held)[len(self.held) - many :]
        out = self.passed - many
        self.left -= many
        self.held.clear()
        self.passed = 0
        return out, kept


class Telling:
    """Hears what a run tells, from any thread; of a run that tells too much, the first events are kept and the last.

    Parameters
    ----------
    write : callable
        Stores events, each a kind, a body and a time, in one transaction.
    stored : mapping of str to int
        How many of each kind earlier processes have stored for the run.
    patience_s : float
        How long the end of a step waits for a store that is away, before it fails and is done again.

    Notes
    -----
    While the store is away nothing that goes on is disturbed: what is told waits, no more of it than may be kept.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Told]], object],
        *,
        stored: Mapping[str, int] | None = None,
        now: Callable[[], datetime] = utc_now,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._write, self._now, self._patience_s = write, now, patience_s
        self._shares = {kind: _Share(max(0, MOST - (stored or {}).get(kind, 0))) for kind in WORDS}
        self._waiting: list[Told] = []
        self._away = False  # whether the store was, when it was asked last
        self._lock = threading.RLock()
        self._timer: threading.Timer | None = None

    def __call__(self, kind: str, body: Mapping[str, Any]) -> None:
        """Take an event: a line of the log, or a report."""
        event = (kind, body, self._now())
        with self._lock:
            share = self._shares[kind]
            if not share.is_open():
                if not share.passed:
                    self._say(f"from here on only the last {WORDS[kind]} are kept; they follow at the end")
                share.hold(event)
                return
            self._waiting.append(event)
            if len(self._waiting) >= MANY and not self._away:
                self._try()
            else:
                self._write_soon()

    def settle(self) -> None:
        """Tell the last of what was held back, too: a cell has come to its end, and what it made is not lost for a line."""
        with self._lock:
            self._release()
            self._try()

    def flush(self) -> None:
        """Write all that was told: a step has come to its end.

        Raises
        ------
        NotReady, StoreFailed
            If the store was away all the time that there is patience for.
        """
        until = time.monotonic() + self._patience_s
        while True:
            try:
                with self._lock:
                    self._release()
                    self._write_all()
            except (NotReady, StoreFailed):
                if time.monotonic() > until:
                    raise
                time.sleep(SOON_S)
            else:
                return

    def close(self) -> None:
        """Write what can be written; the run is not gone on with here."""
        with self._lock:
            self.settle()
            self._waiting.clear()

    def __enter__(self) -> Telling:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _say(self, line: str) -> None:
        self._waiting.append(("log", {"level": "warning", "line": line}, self._now()))
        self._write_soon()

    def _release(self) -> None:
        """Let what was held back wait to be written."""
        for kind, share in self._shares.items():
            out, kept = share.last()
            if out:
                self._say(f"{out:,} {WORDS[kind]} are left out here")
            self._waiting += kept

    def _write_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            if waiting:
                self._away = True
                self._write(waiting)
        except BaseException:
            self._waiting = waiting + self._waiting
            raise
        self._away = False

    def _try(self) -> None:
        """Write what can be written, now or later."""
        try:
            self._write_all()
        except (NotReady, StoreFailed):
            self._write_soon()

    def _write_soon(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(SOON_S, self._on_time)
            self._timer.daemon = True
            self._timer.start()

    def _on_time(self) -> None:
        with self._lock:
            self._timer = None
            self._try()
