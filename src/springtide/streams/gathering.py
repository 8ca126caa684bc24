"""What adapters of brokers have in common: single messages put together to deliveries, and how long things last."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from springtide.streams.consuming import Delivery, Take

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

__all__ = ["FORGOTTEN_S", "KEPT_S", "Gathering"]

FORGOTTEN_S = 6  # how long a consumer is silent before others get its messages
KEPT_S = 7 * 24 * 3600  # how long a broker that can be told so keeps messages

R = TypeVar("R")


class Gathering(Generic[R]):
    """Single messages put together to deliveries: what has come while the one before was worked on goes at once.

    Parameters
    ----------
    take : callable
        Where deliveries go.
    done, hold : callable
        Tell the broker, by the receipts of the messages, that they are done with or still being worked on.
    most : int
        The most messages of a delivery.
    waiting : int
        The most messages that wait here; 0 where the broker sees to it.
    """

    def __init__(
        self,
        take: Take,
        *,
        done: Callable[[Sequence[R]], Awaitable[None]],
        hold: Callable[[Sequence[R]], Awaitable[None]] | None = None,
        most: int,
        waiting: int,
    ) -> None:
        self._take, self._done, self._hold, self._most = take, done, hold, most
        self._waiting: asyncio.Queue[tuple[bytes, R]] = asyncio.Queue(waiting)
        self._turn = asyncio.Lock()  # those that wait for room in a queue may overtake each other
        self._held: dict[R, None] = {}  # what waits here or is being worked on

    async def put(self, body: bytes, receipt: R) -> None:
        """Add a message; waits while too many wait already."""
        self._held[receipt] = None
        async with self._turn:
            await self._waiting.put((body, receipt))

    async def run(self) -> None:
        """Give deliveries on, one after the other."""
        while True:
            messages = [await self._waiting.get()]
            while not self._waiting.empty() and len(messages) < self._most:
                messages.append(self._waiting.get_nowait())
            await self._take(self.delivery(messages))

    def delivery(self, messages: Sequence[tuple[bytes, R]]) -> Delivery:
        """Messages as one delivery."""
        receipts = [receipt for _, receipt in messages]
        self._held |= dict.fromkeys(receipts)
        hold = self._hold

        async def done() -> None:
            try:
                await self._done(receipts)
            finally:
                for receipt in receipts:
                    self._held.pop(receipt, None)

        async def still() -> None:
            if hold is not None:
                await hold(list(self._held))

        return Delivery([body for body, _ in messages], done, still if hold is not None else None)
