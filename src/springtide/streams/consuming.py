"""What happens to messages once a broker has handed them over: checked, handled in order, tried again, or set aside."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeAlias, TypeVar

from springtide.domain.clock import utc_now
from springtide.domain.errors import (
    BadMessage,
    CallsUsedUp,
    ComputeFailed,
    NotReady,
    SourceUnavailable,
    SpringtideError,
    StoreFailed,
)
from springtide.streams.messages import DeadMessage, JobMessage, Payload, RowsMessage, decode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from springtide.streams.payloads import Payloads

__all__ = ["PASSING", "Consumer", "Delivery", "Handler", "Inlet", "Take"]

LOG = logging.getLogger("springtide.streams")
PASSING = (NotReady, StoreFailed, SourceUnavailable, ComputeFailed, CallsUsedUp)
FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 30.0
FORGET_S = 60.0  # after which a lane of which nothing has come is as good as new, or `patience_s` where that is longer
MOST_TRIES = 3  # where an error is not one of ours: a fault of the handler, or a race
TOGETHER_BYTES = 32 * 1024 * 1024  # of the payloads that are handled at once
MOST_WORDS = 1_000  # characters of each field of a dead letter: an error may repeat what was sent
HOLD_S = 2.0  # how often the broker hears that a delivery is still being worked on

M = TypeVar("M", bound=RowsMessage | JobMessage)
M_contra = TypeVar("M_contra", bound=RowsMessage | JobMessage, contravariant=True)


class Handler(Protocol[M_contra]):
    """What is done with messages of one lane that came together, in their order."""

    def __call__(self, messages: Sequence[M_contra], payloads: Payloads, /) -> Sequence[Exception | None]:
        """Handle all of them; what they do is durable when this returns, and done once, however often they come.

        Returns
        -------
        outcomes : sequence
            Of each message None, or why it could not be handled. Where that is a reason that passes, the messages after
            it are better left for the next time, so that order is kept: with the same outcome.

        Raises
        ------
        Exception
            What is then the outcome of every message.
        """


@dataclass(frozen=True, slots=True)
class Inlet(Generic[M]):
    """A topic that is read: what its messages are, and what is done with them."""

    topic: str
    form: type[M]
    handle: Handler[M]


@dataclass(frozen=True, slots=True)
class Delivery:
    """Messages that a broker has handed over, in order.

    `done` tells the broker that it may forget them; `hold`, that they are still being worked on.
    """

    bodies: Sequence[bytes]
    done: Callable[[], Awaitable[None]]
    hold: Callable[[], Awaitable[None]] | None = None


Take: TypeAlias = Callable[[Delivery], Awaitable[None]]
"""Where a broker's deliveries go."""


@dataclass(slots=True)
class _Arrival(Generic[M]):
    body: bytes
    message: M


@dataclass(slots=True)
class _Lane(Generic[M]):
    """Messages that keep their order, and how often some of them have failed without an end."""

    waiting: deque[_Arrival[M]] = field(default_factory=deque)
    failures: int = 0
    due: float = 0.0

    def take(self) -> list[_Arrival[M]]:
        """The messages to handle at once, which wait no more."""
        chunk: list[_Arrival[M]] = []
        size = 0
        for one in self.waiting:
            size += sum(payload.size for payload in one.message.payloads)
            if chunk and size > TOGETHER_BYTES:
                break
            chunk.append(one)
        for _ in chunk:
            self.waiting.popleft()
        return chunk

    def put_back(self, chunk: Sequence[_Arrival[M]], *, due: float) -> None:
        """Let these wait before all others, until then."""
        self.waiting.extendleft(reversed(chunk))
        self.due = due

    def goes(self) -> None:
        """Nothing of it waits to be tried again."""
        self.failures, self.due = 0, 0.0


@dataclass(slots=True)
class _Failing:
    """Since when a lane has been failing, and when it did last; seconds of the clock."""

    since: float
    last: float


class Consumer:
    """Handles deliveries.

    A message that cannot be read or handled goes to the dead letters with the reason, and holds up no other. What fails
    for a reason that passes is tried again, later each time, with all that came after it in its lane waiting; after
    `patience_s` seconds what has failed goes to the dead letters, unless `check` finds that nothing at all would go: then
    all wait until the outage has passed. A lane that has used its patience up has none for later deliveries, until one
    of its messages goes or nothing of it has come for as long: it holds up the other ones once. A delivery ends when all its messages have been
    handled or set aside; only then the broker is told, and only then it may give the next one.

    Parameters
    ----------
    payloads : Payloads
        Where the bytes of large messages lie.
    bury : callable
        Sends a dead letter; when it returns the broker has it.
    patience_s : float
        How long a lane may keep failing for a reason that passes.
    check : callable
        Raises where not even the store and the database answer.
    clock, sleep, now
        Of the event loop and the wall; other ones for tests.
    """

    def __init__(
        self,
        payloads: Payloads,
        bury: Callable[[DeadMessage], Awaitable[None]],
        *,
        patience_s: float,
        check: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._payloads = payloads
        self._bury = bury
        self._patience_s, self._check = patience_s, check
        self._failing: dict[str, _Failing] = {}  # by the names of lanes, oldest first
        self._clock, self._sleep, self._now = clock, sleep, now

    async def take(self, inlet: Inlet[M], delivery: Delivery) -> None:
        """Work a delivery off; returns when the broker has been told.

        What a handler raises that is no `Exception` is raised here, and the broker is not told: the process has to end.
        """
        handled: list[Payload] = []
        async with _holding(delivery):
            lanes = await self._sort(inlet, delivery.bodies)
            while lanes:
                name = min(lanes, key=lambda name: lanes[name].due)
                lane = lanes[name]
                if (wait := lane.due - self._clock()) > 0:
                    await self._sleep(wait)
                handled += await self._attempt(inlet, name, lane)
                if not lane.waiting:
                    del lanes[name]
        try:
            await delivery.done()
        except Exception as error:  # noqa: BLE001 # whatever the client raises: the messages come again, and change nothing
            LOG.warning("%s: the broker could not be told that messages are done: %s", inlet.topic, error)
            return
        await asyncio.to_thread(self._forget, handled)

    async def _sort(self, inlet: Inlet[M], bodies: Sequence[bytes]) -> dict[str, _Lane[M]]:
        lanes: dict[str, _Lane[M]] = {}
        for body in bodies:
            try:
                message = decode(body, inlet.form)
            except BadMessage as error:
                await self._set_aside(inlet.topic, body, error)
            else:
                lanes.setdefault(message.lane, _Lane()).waiting.append(_Arrival(body, message))
        return lanes

    async def _attempt(self, inlet: Inlet[M], name: str, lane: _Lane[M]) -> list[Payload]:
        """Handle the next messages of a lane; the payloads of those that are done."""
        chunk = lane.take()
        try:
            outcomes = await asyncio.to_thread(inlet.handle, [one.message for one in chunk], self._payloads)
        except Exception as error:  # noqa: BLE001 # of a handler: what it means for the messages is decided below
            outcomes = [error] * len(chunk)
        failed = [(one, why) for one, why in zip(chunk, outcomes, strict=True) if why is not None]
        if failed:
            await self._failed(inlet, name, lane, failed)
        else:
            lane.goes()
        if None in outcomes:
            self._failing.pop(f"{inlet.topic} {name}", None)
        done = (one.message for one, why in zip(chunk, outcomes, strict=True) if why is None)
        return [payload for message in done for payload in message.payloads]

    async def _failed(
        self, inlet: Inlet[M], name: str, lane: _Lane[M], failed: Sequence[tuple[_Arrival[M], Exception]]
    ) -> None:
        """Let wait what may pass, and set aside what does not."""
        lane.failures += 1
        waits = any(isinstance(why, PASSING) for _, why in failed) and await self._may_wait(f"{inlet.topic} {name}")
        surprise = lane.failures < MOST_TRIES
        passing = [
            one
            for one, why in failed
            if (waits if isinstance(why, PASSING) else surprise and not isinstance(why, SpringtideError))
        ]
        for one, why in failed:
            if one not in passing:
                await self._set_aside(inlet.topic, one.body, why)
        if not passing:
            lane.goes()
            return
        wait = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (lane.failures - 1))
        lane.put_back(passing, due=self._clock() + wait)
        reason = next(why for one, why in failed if one in passing)
        LOG.warning("%s: tried again in %.1f s: %s", inlet.topic, wait, _in_one_line(reason))

    async def _may_wait(self, name: str) -> bool:
        """Whether a lane that fails for a reason that passes has patience left, or everything fails."""
        now = self._clock()
        for other in [
            other for other, one in self._failing.items() if now - one.last > max(self._patience_s, FORGET_S)
        ]:
            del self._failing[other]
        failing = self._failing.setdefault(name, _Failing(now, now))
        failing.last = now
        if now - failing.since < self._patience_s:
            return True
        try:
            await asyncio.to_thread(self._check)
        except Exception as error:  # noqa: BLE001 # whatever it is: nothing is set aside while it lasts
            LOG.warning("nothing is set aside as long as this lasts: %s", _in_one_line(error))
            return True
        return False

    async def _set_aside(self, topic: str, body: bytes, error: Exception) -> None:
        """Send a message to the dead letters, for as long as it takes.

        The broker may find a letter too large, and every broker says so in words of its own: after the first failure
        the original goes to the store, and the letter is small.
        """
        if not isinstance(error, SpringtideError):
            LOG.error("%s: a message made its handler fail", topic, exc_info=error)
        wait, wrap = FIRST_WAIT_S, self._payloads.wrap
        original: Payload | None = None
        while True:
            try:
                if original is None:
                    original = await asyncio.to_thread(wrap, body)
                letter = self._letter(topic, body, error, original)
                await self._bury(letter)
            except Exception as failure:  # noqa: BLE001 # of the store or the client: without a letter nothing is given up
                LOG.warning("%s: a dead letter could not be sent, again in %.1f s: %s", topic, wait, failure)
                await self._sleep(wait)
                wait = min(LONGEST_WAIT_S, 2 * wait)
                if original is not None and original.stored is None:
                    wrap, original = self._payloads.store, None
            else:
                LOG.warning("%s: a message was set aside: %s", topic, letter.what)
                return

    def _letter(self, topic: str, body: bytes, error: Exception, original: Payload) -> DeadMessage:
        return DeadMessage(
            id=hashlib.sha256(topic.encode() + b"\0" + body).hexdigest(),
            topic=topic,
            at=self._now(),
            what=_in_one_line(error)[:MOST_WORDS],
            where=str(getattr(error, "where", "the handler of the message"))[:MOST_WORDS],
            do=str(getattr(error, "do", "look at the log of the consumer"))[:MOST_WORDS],
            original=original,
        )

    def _forget(self, payloads: Sequence[Payload]) -> None:
        with suppress(StoreFailed):  # what is left is swept away by its age
            self._payloads.remove(payloads)


@asynccontextmanager
async def _holding(delivery: Delivery) -> AsyncIterator[None]:
    """Let the broker know, as long as this lasts, that the messages are being worked on."""
    if delivery.hold is None:
        yield
        return
    telling = asyncio.create_task(_tell_again(delivery.hold))
    try:
        yield
    finally:
        telling.cancel()


async def _tell_again(hold: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(HOLD_S)
        try:
            await hold()
        except Exception as error:  # noqa: BLE001 # whatever the client raises: at worst the messages come again
            LOG.debug("the broker could not be told that messages are being worked on: %s", error)


def _in_one_line(error: Exception) -> str:
    return error.what if isinstance(error, SpringtideError) else f"{type(error).__name__}: {error}"
