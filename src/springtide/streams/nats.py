"""NATS JetStream: every message is acknowledged by itself; what a dead consumer held comes again within seconds."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from faststream.nats import JStream, NatsBroker
from nats.errors import Error
from nats.js.api import ConsumerConfig
from nats.js.errors import NotFoundError, ServiceUnavailableError

from springtide.domain.errors import SourceUnavailable
from springtide.streams.consuming import Delivery, Take
from springtide.streams.gathering import FORGOTTEN_S, KEPT_S

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

__all__ = ["Nats"]

LOG = logging.getLogger("springtide.streams.client.nats")
LOOK_S = 5.0  # how long the server may wait for a message before it is asked again
AGAIN_S = 1.0  # after which a server that did not answer is asked again
PUBLISH_S = 10.0
SAME_ID_S = 120.0  # how long the server remembers the ids of messages


class Nats:
    """A NATS server or cluster with JetStream: one stream that holds all topics, one durable consumer a topic.

    Messages are fetched here and not by FastStream's batches: those drop what they have gathered when a look runs out of
    time, which then comes again seconds later, after newer messages.
    """

    def __init__(self, url: str, *, group: str, prefix: str, together: int) -> None:
        self._group, self._together = group, together
        self._stream = JStream(
            _name(prefix), subjects=[f"{prefix}.>"], max_age=float(KEPT_S), duplicate_window=SAME_ID_S
        )
        self._takes: dict[str, Take] = {}
        self._broker = NatsBroker(
            url, max_reconnect_attempts=-1, apply_types=False, logger=LOG, log_level=logging.DEBUG
        )
        self._broker.publisher(f"{prefix}.events", stream=self._stream)  # so that the stream is made at the start

    def read(self, topic: str, take: Take) -> None:
        """Let the messages of a topic go to `take`."""
        self._takes[topic] = take

    async def start(self) -> None:
        """Connect, and wait until what a dead consumer held is free again, so that order is kept.

        Raises
        ------
        SourceUnavailable
            If the server keeps no messages.
        """
        try:
            await self._broker.start()
        except ServiceUnavailableError as error:
            raise SourceUnavailable(
                "the NATS server has no JetStream, which keeps messages",
                where="url in section [streams]",
                do="start it with -js, or write jetstream {} into its configuration",
            ) from error
        client = await self._broker.connect()
        if any([await self._holds(client, topic) for topic in self._takes]):
            await asyncio.sleep(FORGOTTEN_S)

    async def run(self) -> None:
        """Hand messages over."""
        client = await self._broker.connect()
        async with asyncio.TaskGroup() as group:
            for topic in self._takes:
                group.create_task(self._fetch(client, topic))

    async def publish(self, topic: str, body: bytes, *, key: str, message_id: str) -> None:
        """Send a message; the stream has it when this returns."""
        headers = {"Nats-Msg-Id": message_id}
        await self._broker.publish(body, topic, stream=self._stream.name, headers=headers, timeout=PUBLISH_S)

    async def stop(self) -> None:
        """Disconnect."""
        await self._broker.stop()

    async def _holds(self, client: Client, topic: str) -> bool:
        """Whether somebody has messages of a topic that are not acknowledged."""
        try:
            held = await client.jetstream().consumer_info(self._stream.name, self._durable(topic))
        except NotFoundError:
            return False  # the first start
        return bool(held.num_ack_pending)

    async def _fetch(self, client: Client, topic: str) -> None:
        """Hand over what there is, again and again."""
        source = await client.jetstream().pull_subscribe(
            topic,
            durable=self._durable(topic),
            stream=self._stream.name,
            config=ConsumerConfig(ack_wait=FORGOTTEN_S, max_ack_pending=10 * self._together),
        )
        try:
            while True:
                try:
                    messages = await source.fetch(self._together, timeout=LOOK_S)
                except TimeoutError:
                    continue  # there is none
                except Error as error:
                    LOG.warning("%s could not be looked at, again in %g s: %s", topic, AGAIN_S, error)
                    await asyncio.sleep(AGAIN_S)
                    continue
                await self._takes[topic](_delivery(client, messages))
        finally:
            with suppress(Error):  # the client would wait for half a minute at its end for what was fetched
                await source.unsubscribe()

    def _durable(self, topic: str) -> str:
        return _name(f"{self._group}-{topic}")


def _delivery(client: Client, messages: list[Msg]) -> Delivery:
    async def done() -> None:
        for message in messages:
            await message.ack()
        await client.flush()  # until the server has read all of them

    async def hold() -> None:
        for message in messages:
            await message.in_progress()

    return Delivery([message.data for message in messages], done, hold)


def _name(topic: str) -> str:
    """Streams and consumers have no dots in their names."""
    return topic.replace(".", "-")
