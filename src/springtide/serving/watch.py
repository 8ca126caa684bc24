"""Looking for new champions and new rows, again and again, beside the requests."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["watching"]

logger = logging.getLogger("springtide.serving")


@contextmanager
def watching(look: Callable[[], None], *, poll_s: float, stop: threading.Event) -> Iterator[None]:
    """Call `look` every `poll_s` seconds in a thread of its own; leaving the block, or `stop`, ends it.

    `look` is called once before the block begins, so that what can be served is served from the first request on.
    """
    _look(look)
    thread = threading.Thread(target=_keep_looking, args=(look, poll_s, stop), name="springtide-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _keep_looking(look: Callable[[], None], poll_s: float, stop: threading.Event) -> None:
    while not stop.wait(poll_s):
        _look(look)


def _look(look: Callable[[], None]) -> None:
    try:
        look()
    except Exception:  # whatever it was: what serves must go on being kept fresh
        logger.exception("looking for champions and rows has failed; trying again")
