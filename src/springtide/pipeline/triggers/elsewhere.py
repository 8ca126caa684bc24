"""Calls that may take long, made in other threads, so that nobody waits for them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Generic, TypeVar

from springtide.domain.errors import SpringtideError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor, Future
    from datetime import datetime

__all__ = ["Elsewhere", "describe"]

T = TypeVar("T")
log = logging.getLogger(__name__)


def describe(error: BaseException, *, of: str) -> str:
    """A failure in one line; one that we did not foresee is also logged with all that is known of it."""
    if isinstance(error, SpringtideError):
        return f"{error.what} ({error.where}): {error.do}"
    log.error("%s failed in a way that nobody foresaw", of, exc_info=error)
    return f"{type(error).__name__}: {error}"


class Elsewhere(Generic[T]):
    """One call for each name at a time."""

    def __init__(self, pool: Executor, call: Callable[[str], T]) -> None:
        self._pool, self._call = pool, call
        self._running: dict[str, tuple[datetime, Future[T]]] = {}

    def begin(self, name: str, now: datetime) -> bool:
        """Start the call of a name; False while the last one is still on its way."""
        if name in self._running:
            return False
        self._running[name] = now, self._pool.submit(self._call, name)
        return True

    def since(self, name: str) -> datetime | None:
        """When the call that is on its way was started."""
        return self._running[name][0] if name in self._running else None

    def ended(self) -> Iterator[tuple[str, Future[T]]]:
        """Calls that have ended, each once."""
        for name in [name for name, (_, future) in self._running.items() if future.done()]:
            yield name, self._running.pop(name)[1]

    def results(self) -> Iterator[tuple[str, T]]:
        """What calls that have ended returned; a failure is logged, and the same call is made again some time."""
        for name, future in self.ended():
            if (error := future.exception()) is None:
                yield name, future.result()
            else:
                log.warning("%s: %s", name, describe(error, of=name))
