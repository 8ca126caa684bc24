"""Kafka, and what speaks its protocol (Redpanda, ...): an offset is committed when all before it is done with."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from confluent_kafka import Producer
from faststream import AckPolicy
from faststream.confluent import KafkaBroker, Topic

from springtide.domain.errors import SettingsError
from springtide.streams.consuming import Delivery, Take
from springtide.streams.gathering import FORGOTTEN_S

if TYPE_CHECKING:
    from faststream.confluent.message import KafkaMessage

__all__ = ["Kafka", "servers_and_options"]

LOG = logging.getLogger("springtide.streams.client.kafka")
LONGEST_WORK_MS = 24 * 3600 * 1000  # on one delivery; a dead consumer is noticed by its silence, long before
GIVEN_UP_MS = 9_000  # after which one that only sends gives a message up
ANSWER_S = 5.0  # within which one of the servers says what topics there are
GATHER_S = 0.1  # how long a delivery that is not full waits for more messages


class Kafka:
    """A Kafka cluster.

    Partitions keep the order of their messages, and a key (region and table) is always in one partition. A partition has
    one delivery at a time: nothing is fetched beyond what the client holds ready, and the commit comes after the work.
    """

    def __init__(self, url: str, *, group: str, together: int) -> None:
        self._servers, self._options = servers_and_options(url)
        self._group, self._together = group, together
        self._takes: dict[str, Take] = {}
        self._broker: KafkaBroker | None = None

    def read(self, topic: str, take: Take) -> None:
        """Let the messages of a topic go to `take`."""
        self._takes[topic] = take

    async def start(self) -> None:
        """Connect, and begin to read where something is read.

        Raises
        ------
        confluent_kafka.KafkaException
            If no server answers: the client itself would try for ever and say nothing.
        """
        asking = Producer({"bootstrap.servers": self._servers} | self._options, logger=LOG)
        await asyncio.to_thread(asking.list_topics, timeout=ANSWER_S)
        self._broker = self._made()
        await self._broker.start()

    async def run(self) -> None:
        """Hand messages over: the subscribers' own tasks do."""
        await asyncio.Event().wait()

    async def publish(self, topic: str, body: bytes, *, key: str, message_id: str) -> None:
        """Send a message; all replicas that are in sync have it when this returns."""
        assert self._broker is not None  # it has been started
        await self._broker.publish(body, topic, key=key, correlation_id=message_id)

    async def stop(self) -> None:
        """Leave the group and disconnect."""
        if self._broker is not None:
            await self._broker.stop()

    def _made(self) -> KafkaBroker:
        """FastStream's broker; one that only sends gives up by itself, or its end would wait for minutes."""
        sends_only = {} if self._takes else {"message.timeout.ms": str(GIVEN_UP_MS)}
        broker = KafkaBroker(
            self._servers,
            acks="all",
            enable_idempotence=True,
            config=sends_only | self._options,  # type: ignore[arg-type] # any property of librdkafka
            graceful_timeout=None,
            apply_types=False,
            decoder=_whole,
            logger=LOG,
            log_level=logging.DEBUG,
        )
        for topic, take in self._takes.items():
            self._subscribe(broker, topic, take)
        return broker

    def _subscribe(self, broker: KafkaBroker, topic: str, take: Take) -> None:
        subscribe = broker.subscriber(
            Topic(topic, declare=False),
            batch=True,
            max_records=self._together,
            polling_interval=GATHER_S,
            group_id=self._group,
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.MANUAL,
            session_timeout_ms=FORGOTTEN_S * 1000,
            heartbeat_interval_ms=FORGOTTEN_S * 1000 // 3,
            max_poll_interval_ms=LONGEST_WORK_MS,
        )

        async def take_batch(batch: KafkaMessage) -> None:
            # The consumer commits all that it has read: it reads no more before this delivery is done with.
            await take(Delivery([message.value() or b"" for message in _records(batch)], lambda: _commit(batch)))

        subscribe(take_batch)


def servers_and_options(url: str) -> tuple[str, dict[str, str]]:
    """The servers of a URL, and its user, password and query as librdkafka's properties.

    >>> servers_and_options("kafka://a:9092,b:9092")
    ('a:9092,b:9092', {})
    >>> servers_and_options("kafka://me:word@a:9093?security.protocol=SASL_SSL")[1]["sasl.username"]
    'me'
    """
    parts = urlsplit(url)
    login, at, servers = parts.netloc.rpartition("@")
    if not servers:
        raise SettingsError(
            "the URL names no server", where="url in section [streams]", do='write url = "kafka://host:9092"'
        )
    options = dict(parse_qsl(parts.query))
    if at:
        user, _, password = login.partition(":")
        options = {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "PLAIN",
            "sasl.username": unquote(user),
            "sasl.password": unquote(password),
        } | options
    return servers, options


async def _whole(message: KafkaMessage) -> Any:
    """Leave the message as it is: it is decoded and checked by us."""
    return message


async def _commit(batch: KafkaMessage) -> None:
    await batch.consumer.commit(asynchronous=False)  # type: ignore[call-arg] # the client's own, not the protocol's


def _records(batch: KafkaMessage) -> tuple[Any, ...]:
    raw = batch.raw_message
    return raw if isinstance(raw, tuple) else (raw,)
