"""A graph that was proven in another process, and runs here on no more than it was proven with."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from springtide.domain.errors import BadRows, ModelRefused, NotReady
from springtide.trainers.proving import ROWS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from springtide.serving.session import Session

__all__ = ["Guarded"]

AT_ONCE = 2  # requests that one graph works on
PATIENCE_S = 2.0  # that another one waits for its turn
LIMIT_S = 10.0  # that a request may take


class Guarded:
    """A session that only ever runs on the numbers of rows that it was proven with; what is over is filled up and cut off.

    Memory and steps of such a run are those of the proof, for a graph whose structure has passed does the same whatever
    its rows hold.
    """

    def __init__(self, session: Session, *, limit_s: float = LIMIT_S) -> None:
        self._session, self._limit_s = session, limit_s
        self.inputs, self.outputs = session.inputs, session.outputs
        self._turns = threading.BoundedSemaphore(AT_ONCE)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The answers to the rows of the one input.

        Raises
        ------
        BadRows
            If the rows do not fit the graph, or there are none.
        NotReady
            If the answer takes too long, or too many ask at once.
        """
        self._session.check_feeds(feeds)
        ((_, rows),) = feeds.items()
        return [self.answer(len(rows), lambda part: rows[part])]

    def answer(self, count: int, make: Callable[[slice], NDArray[Any]], *, at_once: int = ROWS[-1]) -> NDArray[Any]:
        """The answers to `count` rows that `make` gives in parts of no more than `at_once`, within the turn and the limit.

        Raises
        ------
        BadRows
            If the rows do not fit the graph, or there are none.
        NotReady
            If the answer takes too long, or too many ask at once.
        """
        if not count:
            raise BadRows("no rows", where=self._session.where, do="send at least one")
        with self._turn(), _limited(self._limit_s) as options:
            answers = []
            for start in range(0, count, at_once):
                part = make(slice(start, min(start + at_once, count)))
                if options.terminate:
                    raise self._late()
                answers.append(self._answer(part, options))
        return np.concatenate(answers)

    def _answer(self, part: NDArray[Any], options: onnxruntime.RunOptions) -> NDArray[Any]:
        size = next(rows for rows in ROWS if rows >= len(part))
        filled = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
        try:
            (answer,) = self._session.run({self.inputs[0].name: filled}, options=options)
        except BadRows as error:
            if not options.terminate:
                raise
            raise self._late() from error
        if answer.ndim not in (1, 2) or len(answer) != size:
            raise ModelRefused(
                f"it answers {size} rows with the shape {list(answer.shape)}", where=self._session.where, do="retrain"
            )
        return answer[: len(part)]

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(timeout=PATIENCE_S):
            raise self._busy(f"{AT_ONCE} requests are being answered")
        try:
            yield
        finally:
            self._turns.release()

    def _late(self) -> NotReady:
        return self._busy(f"no answer within {self._limit_s:g} s")

    def _busy(self, what: str) -> NotReady:
        return NotReady(what, where=self._session.where, do="send fewer rows at once, or ask again in a moment")


@contextmanager
def _limited(seconds: float) -> Iterator[onnxruntime.RunOptions]:
    """Options of a run that ends, with an error, at the first operator after so many seconds."""
    options = onnxruntime.RunOptions()
    timer = threading.Timer(seconds, setattr, (options, "terminate", True))
    timer.daemon = True
    timer.start()
    try:
        yield options
    finally:
        timer.cancel()
