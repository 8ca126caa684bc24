"""Redis streams: a consumer group; what a consumer held when it died it gets first, or another one gets after a minute."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from typing import TYPE_CHECKING, Any

from faststream import AckPolicy
from faststream.redis import BinaryMessageFormatV1, RedisBroker, StreamSub
from redis.exceptions import RedisError, ResponseError

from springtide.streams.gathering import KEPT_S, Gathering

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faststream.redis.message import RedisStreamMessage

    from springtide.streams.consuming import Take

__all__ = ["Redis"]

LOG = logging.getLogger("springtide.streams.client.redis")
FIELD = b"__data__"  # of an entry, which holds the message
ABANDONED_MS = 60_000
LOOK_S = 20.0


class Redis:
    """A Redis server (6.2 or newer): one stream a topic, one consumer group, a consumer named like its host."""

    def __init__(self, url: str, *, group: str, prefix: str, together: int) -> None:
        self._group, self._together = group, together
        self._events = f"{prefix}.events"
        self._me = socket.gethostname()
        self._gatherings: dict[str, Gathering[bytes]] = {}
        self._takes: dict[str, Take] = {}
        self._turn = asyncio.Lock()
        self._broker = RedisBroker(
            url, graceful_timeout=None, apply_types=False, decoder=_whole, logger=LOG, log_level=logging.DEBUG
        )

    def read(self, topic: str, take: Take) -> None:
        """Let the messages of a topic go to `take`."""

        async def done(receipts: Sequence[bytes]) -> None:
            await self._client.xack(topic, self._group, *receipts)

        async def hold(receipts: Sequence[bytes]) -> None:
            await self._client.xclaim(topic, self._group, self._me, 0, list(receipts), justid=True)

        gathering: Gathering[bytes] = Gathering(take, done=done, hold=hold, most=self._together, waiting=self._together)
        self._gatherings[topic], self._takes[topic] = gathering, take
        source = StreamSub(
            topic, group=self._group, consumer=self._me, max_records=self._together, polling_interval=100
        )
        subscribe = self._broker.subscriber(stream=source, ack_policy=AckPolicy.MANUAL)

        async def take_one(message: RedisStreamMessage) -> None:
            await gathering.put(message.body, message.raw_message["message_ids"][0])

        subscribe(take_one)

    async def start(self) -> None:
        """Connect, and make the groups."""
        self._client: Any = await self._broker.connect()
        for topic in self._gatherings:
            await self._make_group(topic)

    async def run(self) -> None:
        """Work off what this consumer held when it ended, then hand over what comes."""
        for topic in self._gatherings:
            await self._take_up(topic)
        await self._broker.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look_after())
            for gathering in self._gatherings.values():
                group.create_task(gathering.run())

    async def publish(self, topic: str, body: bytes, *, key: str, message_id: str) -> None:
        """Send a message; it is as safe as the server's `appendfsync` says when this returns."""
        async with self._turn:  # one connection: those of a pool overtake each other
            await self._broker.publish(body, stream=topic, correlation_id=message_id)

    async def stop(self) -> None:
        """Disconnect."""
        await self._broker.stop()

    async def _make_group(self, topic: str) -> None:
        """A group that begins with the first message there is."""
        try:
            await self._client.xgroup_create(topic, self._group, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def _take_up(self, topic: str) -> None:
        """Work off what was given to a consumer of this name and not acknowledged."""
        last: bytes | str = "0"
        while True:
            found = await self._client.xreadgroup(self._group, self._me, {topic: last}, count=self._together)
            entries = found[0][1] if found else []
            if not entries:
                return
            last = entries[-1][0]
            await self._takes[topic](self._gatherings[topic].delivery(_messages(entries)))

    async def _look_after(self) -> None:
        """Again and again take what was left lying, and drop what is too old."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                for topic in self._gatherings:
                    await self._take_over(topic)
                for topic in (*self._gatherings, self._events):
                    await self._client.xtrim(topic, minid=int((time.time() - KEPT_S) * 1000))
            except (RedisError, OSError) as error:
                LOG.warning("what was left lying could not be looked at: %s", error)

    async def _take_over(self, topic: str) -> None:
        """Take what nobody works on: of a consumer that died, or lost with a connection of our own."""
        left = await self._client.xpending_range(topic, self._group, "-", "+", self._together, idle=ABANDONED_MS)
        ids = [one["message_id"] for one in left]
        entries = await self._client.xclaim(topic, self._group, self._me, ABANDONED_MS, ids) if ids else []
        for body, receipt in _messages(entries):
            await self._gatherings[topic].put(body, receipt)


def _messages(entries: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> list[tuple[bytes, bytes]]:
    """Body and id of each entry; one that was trimmed meanwhile has an empty body, and is set aside as unreadable."""
    return [(BinaryMessageFormatV1.parse((fields or {}).get(FIELD, b""))[0], entry) for entry, fields in entries]


async def _whole(message: Any) -> Any:
    """Leave the message as it is: it is decoded and checked by us."""
    return message
