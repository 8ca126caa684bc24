"""A broker: what it is asked to do, and which one a URL names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from springtide.domain.errors import SettingsError
from springtide.domain.passwords import without_password
from springtide.settings.words import BROKERS

if TYPE_CHECKING:
    from springtide.streams.consuming import Take

__all__ = ["Broker", "open_broker", "without_password"]


class Broker(Protocol):
    """A connection to a broker."""

    def read(self, topic: str, take: Take) -> None:
        """Let the messages of a topic go to `take`, from the last ones that were not done with; before the start."""

    async def start(self) -> None:
        """Connect; messages can be published from then on."""

    async def run(self) -> None:
        """Hand messages over until cancelled, or until something breaks: then no topic is read any more."""

    async def publish(self, topic: str, body: bytes, *, key: str, message_id: str) -> None:
        """Send a message; when this returns the broker has it.

        Messages of one `key` keep their order. Where the broker can, a second message with the same `message_id` is dropped.
        """

    async def stop(self) -> None:
        """Hand over nothing more, and disconnect; what was not done with is handed over again another time."""


def open_broker(url: str, *, group: str, prefix: str, together: int) -> Broker:
    """The broker of a URL, not yet connected.

    Parameters
    ----------
    url : str
        ``kafka://host:port,host:port``, ``nats://...``, ``amqp://...`` or ``redis://...``.
    group : str
        Consumers of one group share the messages.
    prefix : str
        What the names of all topics begin with.
    together : int
        The most messages that are handed over at once.
    """
    scheme = url.partition("://")[0]
    # Each client is imported for the URL that needs it, and costs 0.3 to 0.7 s.
    try:
        if scheme == "kafka":
            from springtide.streams.kafka import Kafka  # noqa: PLC0415

            return Kafka(url, group=group, together=together)
        if scheme in ("nats", "tls"):
            from springtide.streams.nats import Nats  # noqa: PLC0415

            return Nats(url, group=group, prefix=prefix, together=together)
        if scheme in ("amqp", "amqps"):
            from springtide.streams.rabbit import Rabbit  # noqa: PLC0415

            return Rabbit(url, prefix=prefix, together=together)
        if scheme in ("redis", "rediss"):
            from springtide.streams.redis import Redis  # noqa: PLC0415

            return Redis(url, group=group, prefix=prefix, together=together)
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"what speaks to {scheme} brokers is not installed: {error.name}",
            where="url in section [streams]",
            do="run `pip install 'springtide[streams]'`",
        ) from error
    raise SettingsError(
        f"{scheme!r} is no broker that can be used",
        where="url in section [streams]",
        do=f"begin it with one of: {', '.join(BROKERS)}",
    )
