"""The broker of the settings, what its topics are called, and rows sent there by hand."""

from __future__ import annotations

import asyncio
import os
import uuid
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from springtide.app.home import store_options
from springtide.app.regions import taking
from springtide.domain.errors import SettingsError, SourceUnavailable, SpringtideError
from springtide.settings.words import RowsSource
from springtide.streams.broker import open_broker, without_password
from springtide.streams.messages import RowsMessage, decode, encode
from springtide.streams.payloads import Payloads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from springtide.app.home import Home
    from springtide.streams.broker import Broker

__all__ = ["broker_of", "check_taken", "leave", "payloads_of", "reaching", "send_rows", "topic"]

SEND_S, STOP_S = 10.0, 2.0


def broker_of(home: Home, *, group: str | None = None, together: int | None = None) -> Broker:
    """The broker of the settings, not yet connected."""
    settings = home.settings.streams
    if settings.url is None:
        raise SettingsError(
            "no broker is set", where="springtide.toml", do='write url = "kafka://HOST:9092" into [streams]'
        )
    url = settings.url.get_secret_value()
    return open_broker(
        url, group=group or settings.group, prefix=settings.prefix, together=together or settings.together
    )


def topic(home: Home, name: str) -> str:
    """The topic of that name as the broker knows it."""
    return f"{home.settings.streams.prefix}.{name}"


def payloads_of(home: Home) -> Payloads:
    """Where the bytes of large messages lie."""
    return Payloads(f"{home.settings.home.store.rstrip('/')}/streams", store_options(os.environ))


def check_taken(home: Home, table: str, region: str) -> None:
    """Refuse rows that the consumer would set aside; settings without any source of rows are those of a mere sender.

    Raises
    ------
    NotFound
        If the settings take rows, but none for that table or from that region.
    """
    if any(isinstance(source, RowsSource) for source in home.settings.sources.values()):
        taking(home, table, region)


async def send_rows(home: Home, message: RowsMessage) -> None:
    """Send one message of rows, and wait until the broker has it.

    Every sending has an id of its own: a broker that drops what it has seen would drop another content under the name of
    a known batch too, and its sender would never hear of the conflict.

    Raises
    ------
    BadMessage
        If it is none that the consumer would take.
    SourceUnavailable
        If the broker has not taken it within ten seconds.
    """
    body = encode(message)
    decode(body, RowsMessage)
    broker = broker_of(home)
    try:
        async with reaching("the broker has not taken the batch", note=": a batch counts once"):
            await broker.start()
            await broker.publish(topic(home, "rows"), body, key=message.key, message_id=uuid.uuid4().hex)
    finally:
        await leave(broker)


async def leave(broker: Broker) -> None:
    """Stop, whatever the client says at its end: what it was asked has been answered, or comes again."""
    with suppress(Exception):
        async with asyncio.timeout(STOP_S):
            await broker.stop()


@asynccontextmanager
async def reaching(failure: str, *, note: str = "") -> AsyncIterator[None]:
    """Give what is done with a broker ten seconds, and say what every client says in words of its own.

    Raises
    ------
    SourceUnavailable
        Where it fails: `failure`, and why; `note` follows the advice to try again.
    """
    try:
        async with asyncio.timeout(SEND_S):
            yield
    except SpringtideError:
        raise
    except Exception as error:
        words = f"no answer in {SEND_S:g} s" if isinstance(error, TimeoutError) else without_password(error)
        raise SourceUnavailable(
            f"{failure}: {words}",
            where="url in section [streams]",
            do=f"see that the broker runs and the url is right, and try again{note}",
        ) from error
