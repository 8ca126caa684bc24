"""NATS JetStream: every message is acknowledged by itself; what a dead consumer held comes again within seconds."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, PullSub
from nats.js.api import ConsumerConfig
from nats.js.errors import NotFoundError

from springtide.streams.broker import FORGOTTEN_S, KEPT_S
from springtide.streams.consuming import Delivery, Take

if TYPE_CHECKING:
    from faststream.nats.message import NatsBatchMessage

__all__ = ["Nats"]

LOG = logging.getLogger("springtide.streams.client.nats")
GATHER_S = 0.1  # how long a delivery that is not full waits for more messages
PUBLISH_S = 10.0
SAME_ID_S = 120.0  # how long the server remembers the ids of messages


class Nats:
    """A NATS server or cluster with JetStream: one stream that holds all topics, one durable consumer a topic."""

    def __init__(self, url: str, *, group: str, prefix: str, together: int) -> None:
        self._group, self._together = group, together
        self._stream = JStream(
            _name(prefix), subjects=[f"{prefix}.>"], max_age=float(KEPT_S), duplicate_window=SAME_ID_S
        )
        self._durables: list[str] = []
        self._broker = NatsBroker(
            url,
            max_reconnect_attempts=-1,
            graceful_timeout=None,
            apply_types=False,
            decoder=_whole,
            logger=LOG,
            log_level=logging.DEBUG,
        )
        self._broker.publisher(f"{prefix}.events", stream=self._stream)  # so that the stream is made at the start

    def read(self, topic: str, take: Take) -> None:
        """Let the messages of a topic go to `take`."""
        durable = _name(f"{self._group}-{topic}")
        self._durables.append(durable)
        subscribe = self._broker.subscriber(
            topic,
            stream=self._stream,
            durable=durable,
            pull_sub=PullSub(self._together, GATHER_S, batch=True),
            config=ConsumerConfig(ack_wait=FORGOTTEN_S, max_ack_pending=10 * self._together),
            ack_policy=AckPolicy.MANUAL,
        )

        async def take_batch(batch: NatsBatchMessage) -> None:
            async def done() -> None:
                await batch.ack()
                await (await self._broker.connect()).flush()  # until the server has read all acknowledgements

            await take(Delivery([message.data for message in batch.raw_message], done, batch.in_progress))

        subscribe(take_batch)

    async def start(self) -> None:
        """Connect, wait until what a dead consumer held is free again (so that order is kept), and begin to read."""
        context = (await self._broker.connect()).jetstream()
        for durable in self._durables:
            try:
                held = (await context.consumer_info(self._stream.name, durable)).num_ack_pending
            except NotFoundError:
                continue  # the first start
            if held:
                await asyncio.sleep(FORGOTTEN_S)
                break
        await self._broker.start()

    async def publish(self, topic: str, body: bytes, *, key: str, message_id: str) -> None:
        """Send a message; the stream has it when this returns."""
        headers = {"Nats-Msg-Id": message_id}
        await self._broker.publish(body, topic, stream=self._stream.name, headers=headers, timeout=PUBLISH_S)

    async def stop(self) -> None:
        """Disconnect."""
        await self._broker.stop()


async def _whole(message: Any) -> Any:
    """Leave the message as it is: it is decoded and checked by us."""
    return message


def _name(topic: str) -> str:
    """Streams and consumers have no dots in their names."""
    return topic.replace(".", "-")
