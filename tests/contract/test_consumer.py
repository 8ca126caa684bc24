"""The consumer on every broker: what breaks the process loses nothing that came after it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from msgspec import structs
from tests import stream_world as world
from tests.brokers import BROKERS, broker

from springtide.app.streaming import Consuming
from springtide.app.streams.handlers import Handlers
from springtide.app.streams.sending import payloads_of
from springtide.domain.errors import BadMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from springtide.app.home import Home
    from springtide.streams.consuming import Handler
    from springtide.streams.messages import JobMessage, RowsMessage
    from springtide.streams.payloads import Payloads

PATIENCE_S = 40


class Panic(BaseException):
    """What a library in Rust raises: no `Exception`."""


@pytest.fixture(params=BROKERS)
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Home]:
    """A home on a broker that nobody has used."""
    with broker(request.param, tmp_path) as url:
        yield world.make_home(tmp_path / "home", url, together=2)


def no_jobs(messages: Sequence[JobMessage], _: Payloads) -> list[Exception | None]:
    raise AssertionError(f"no job was sent, and {len(messages)} came")


def consume(home: Home, handle: Handler[RowsMessage], *, until: Callable[[], bool]) -> None:
    """A consumer from its start to its end: of itself, or when it is told to stop."""

    async def story() -> None:
        consuming = Consuming(home, Handlers(rows=handle, jobs=no_jobs))
        running = asyncio.create_task(consuming.run())
        async with asyncio.timeout(PATIENCE_S):
            while not until() and not running.done():
                await asyncio.sleep(0.05)
            consuming.stop()
            await running

    asyncio.run(story())


def test_old_bytes_of_a_message_that_waited_are_read_before_they_are_swept(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("springtide.app.streaming.QUIET_S", 8.0)
    monkeypatch.setattr("springtide.app.streaming.PAYLOADS_KEPT", timedelta(0))
    payloads = payloads_of(home)
    left = payloads.store(b"left behind")
    message = structs.replace(world.rows_message(1), data=payloads.store(b"waited for long"))
    world.send(home, [world.as_sent(message)])
    done: list[bytes] = []

    def work(messages: Sequence[RowsMessage], payloads: Payloads) -> list[Exception | None]:
        done.extend(payloads.read(one.data) for one in messages)
        return [None] * len(messages)

    def swept() -> bool:
        try:
            payloads.read(left)
        except BadMessage:
            return True
        return False

    consume(home, work, until=swept)
    assert done == [b"waited for long"]


def test_a_panic_of_a_handler_ends_the_consumer_and_nothing_after_it_is_lost(home: Home) -> None:
    world.send(home, [world.as_sent(world.rows_message(number)) for number in range(10)])
    done: list[str] = []

    def panic(messages: Sequence[RowsMessage], payloads: Payloads) -> list[Exception | None]:
        if any(one.batch == "b3" for one in messages):
            raise Panic("the library broke")
        return work(messages, payloads)

    def work(messages: Sequence[RowsMessage], _: Payloads) -> list[Exception | None]:
        done.extend(one.batch for one in messages)
        return [None] * len(messages)

    with pytest.raises(Panic):
        consume(home, panic, until=lambda: len(done) > 10)
    assert "b3" not in done
    consume(home, work, until=lambda: len(set(done)) == 10)
    assert set(done) == {f"b{number}" for number in range(10)}
