"""Dead letters: looked at where they lie, and sent back to the topics that they came from."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from springtide.app.streams.sending import broker_of, leave, payloads_of, reaching, topic
from springtide.domain.clock import utc_now
from springtide.domain.errors import BadMessage, SpringtideError
from springtide.domain.printing import printable
from springtide.streams.messages import DeadMessage, RowsMessage, decode

if TYPE_CHECKING:
    from springtide.app.home import Home
    from springtide.streams.broker import Broker
    from springtide.streams.consuming import Delivery

__all__ = ["DeadLetter", "about", "dead_letters"]

LOG = logging.getLogger("springtide.streams")
FIRST_S = 15.0  # to wait for the first letter: a broker may have to free what an earlier look held
QUIET_S = 3.0  # to wait for more
TOGETHER = 1_000
MOST_NAME = 200  # characters
NAMES = {"table": "table", "region": "region", "batch": "batch", "id": "job"}


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter, what its original is about, and why it could not be sent again where it should have been."""

    letter: DeadMessage
    failure: str | None = None
    about: str | None = None  # None where the original cannot be read


async def dead_letters(home: Home, *, again: bool) -> list[DeadLetter]:
    """The dead letters, newest first; with `again` their originals go back to their topics, and they are there no more.

    A letter that was written after this began stays, so that what fails again is not sent in circles.

    Raises
    ------
    SourceUnavailable
        If the broker does not answer.
    """
    broker = broker_of(home, group=f"{home.settings.streams.group}-dead", together=TOGETHER)
    reading = _Reading(home, broker, again=again)
    broker.read(topic(home, "dead"), reading.take)
    try:
        async with reaching("dead letters cannot be read"):
            await broker.start()
        await reading.run()
    finally:
        await leave(broker)
    return sorted(reading.found.values(), key=lambda one: one.letter.at, reverse=True)


class _Reading:
    """Letters as they come, until none comes any more."""

    def __init__(self, home: Home, broker: Broker, *, again: bool) -> None:
        self._home, self._broker, self._again = home, broker, again
        self._payloads = payloads_of(home)
        self._began = utc_now()
        self._until = time.monotonic() + FIRST_S
        self.found: dict[tuple[str, str], DeadLetter] = {}

    async def run(self) -> None:
        """Read."""
        running = asyncio.create_task(self._broker.run())
        while time.monotonic() < self._until and not running.done():
            await asyncio.sleep(0.1)
        if running.done():
            running.result()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    async def take(self, delivery: Delivery) -> None:
        """Keep what was delivered; without `again` the broker is not told, and delivers it another time too."""
        letters = [letter for letter in map(_read, delivery.bodies) if letter is not None]
        if self._again and any(letter.at >= self._began for letter in letters):
            await asyncio.Event().wait()  # the rest has come while this ran
        for letter in letters:
            name = (letter.id, letter.at.isoformat())
            if name not in self.found:
                original = await asyncio.to_thread(self._original, letter)
                failure = await self._send(letter, original) if self._again else None
                self.found[name] = DeadLetter(letter, failure, about(original) if isinstance(original, bytes) else None)
                self._until = time.monotonic() + QUIET_S
        if self._again:
            await delivery.done()

    def _original(self, letter: DeadMessage) -> bytes | SpringtideError:
        """The bytes of an original; or why there are none: they are gone, or the store is away."""
        try:
            return self._payloads.read(letter.original)
        except SpringtideError as error:
            return error

    async def _send(self, letter: DeadMessage, original: bytes | SpringtideError) -> str | None:
        """Send an original back; why not, where that is not possible."""
        if letter.topic not in (topic(self._home, "rows"), topic(self._home, "jobs")):
            return f"{letter.topic} is no topic of rows or jobs"
        if isinstance(original, BadMessage):
            return original.what
        if isinstance(original, SpringtideError):
            raise original
        await self._broker.publish(letter.topic, original, key=_key(original), message_id=uuid.uuid4().hex)
        return None


def about(original: bytes) -> str | None:
    """What a message is about, as far as it says so: it may be none that follows its schema.

    >>> about(b'{"table": "covid", "region": "Tula", "batch": 7}')
    'table covid, region Tula'
    >>> about(b'{"id": "shop-1"}')
    'job shop-1'
    """
    try:
        found = msgspec.json.decode(original)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if not isinstance(found, dict):
        return None
    named = {NAMES[key]: found[key] for key in NAMES if isinstance(found.get(key), str)}
    words = ", ".join(f"{noun} {name[:MOST_NAME]}" for noun, name in named.items())
    return printable(words) or None


def _read(body: bytes) -> DeadMessage | None:
    try:
        return decode(body, DeadMessage)
    except BadMessage as error:
        LOG.warning("this is no dead letter: %s", error.what)
        return None


def _key(original: bytes) -> str:
    """What keeps the order of the messages of a table and region, where it is one of these."""
    try:
        message = decode(original, RowsMessage)
    except BadMessage:
        return ""
    return message.key
