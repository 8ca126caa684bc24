"""RabbitMQ: durable queues, publisher confirms; what a dead consumer held goes back to its place in the queue."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from faststream import AckPolicy
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue

from springtide.streams.gathering import KEPT_S, Gathering

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faststream.rabbit.message import RabbitMessage

    from springtide.streams.consuming import Take

__all__ = ["Rabbit"]

LOG = logging.getLogger("springtide.streams.client.rabbit")


class Rabbit:
    """A RabbitMQ server or cluster: one durable queue a topic, which one consumer at a time reads, so that order is kept."""

    def __init__(self, url: str, *, prefix: str, together: int) -> None:
        self._prefix, self._together = prefix, together
        self._gatherings: list[Gathering[RabbitMessage]] = []
        self._broker = RabbitBroker(
            url,
            default_channel=Channel(on_return_raises=True),
            graceful_timeout=None,
            apply_types=False,
            decoder=_whole,
            logger=LOG,
            log_level=logging.DEBUG,
        )

    def read(self, topic: str, take: Take) -> None:
        """Let the messages of a topic go to `take`."""
        gathering: Gathering[RabbitMessage] = Gathering(take, done=_acknowledge, most=self._together, waiting=0)
        self._gatherings.append(gathering)
        # A channel of its own: twice as many messages as are handled at once, so that the next ones are there already.
        subscribe = self._broker.subscriber(
            self._queue(topic), channel=Channel(prefetch_count=2 * self._together), ack_policy=AckPolicy.MANUAL
        )

        async def take_one(message: RabbitMessage) -> None:
            await gathering.put(message.body, message)

        subscribe(take_one)

    async def start(self) -> None:
        """Connect, make the queues, and begin to read."""
        await self._broker.connect()
        for topic in ("rows", "jobs", "events", "dead"):
            await self._broker.declare_queue(self._queue(f"{self._prefix}.{topic}"))
        await self._broker.start()

    async def run(self) -> None:
        """Hand messages over."""
        async with asyncio.TaskGroup() as group:
            for gathering in self._gatherings:
                group.create_task(gathering.run())

    async def publish(self, topic: str, body: bytes, *, key: str, message_id: str) -> None:
        """Send a message; the queue has it, on its disk, when this returns."""
        await self._broker.publish(body, queue=topic, persist=True, message_id=message_id)

    async def stop(self) -> None:
        """Disconnect; what is not acknowledged goes back."""
        await self._broker.stop()

    def _queue(self, topic: str) -> RabbitQueue:
        if topic == f"{self._prefix}.events":  # which nobody may read
            return RabbitQueue(topic, durable=True, arguments={"x-message-ttl": KEPT_S * 1000})
        return RabbitQueue(topic, durable=True, arguments={"x-single-active-consumer": True})


async def _acknowledge(messages: Sequence[RabbitMessage]) -> None:
    for message in messages:
        await message.ack()


async def _whole(message: Any) -> Any:
    """Leave the message as it is: it is decoded and checked by us."""
    return message
