"""Every broker keeps the order of a key, hands over again what was not done with, and never what was."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.brokers import BROKERS, broker, nats_server

from springtide.domain.errors import SourceUnavailable
from springtide.streams.broker import open_broker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from springtide.streams.broker import Broker
    from springtide.streams.consuming import Delivery

TOPIC = "springtide.rows"
PATIENCE_S = 30


@pytest.fixture(params=BROKERS)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker that nobody has used."""
    with broker(request.param, tmp_path_factory.mktemp(request.param)) as url:
        yield url


@pytest.fixture(autouse=True)
def _seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead consumer is given up after a second where that can be asked for."""
    monkeypatch.setattr("springtide.streams.nats.FORGOTTEN_S", 1)


def opened(url: str) -> Broker:
    return open_broker(url, group="springtide", prefix="springtide", together=8)


async def send(broker: Broker, first: int, last: int) -> None:
    for number in range(first, last):
        await broker.publish(TOPIC, f"{number}".encode(), key="t/r", message_id=f"m{number}")


async def until(arrived: list[str], count: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while len(arrived) < count:
            await asyncio.sleep(0.01)


def test_what_was_not_done_with_comes_again_in_order_and_what_was_never_does(url: str) -> None:
    async def story() -> None:
        seen: list[str] = []
        leaving, living = opened(url), opened(url)

        async def never_end(delivery: Delivery) -> None:
            seen.extend(body.decode() for body in delivery.bodies)
            await asyncio.Event().wait()  # stopped in the middle of the work

        leaving.read(TOPIC, never_end)
        await leaving.start()
        running = asyncio.create_task(leaving.run())
        await send(leaving, 0, 20)
        await until(seen, 1)
        running.cancel()
        await leaving.stop()

        arrived: list[str] = []

        async def work(delivery: Delivery) -> None:
            assert len(delivery.bodies) <= 8
            if delivery.hold is not None:
                await delivery.hold()
            arrived.extend(body.decode() for body in delivery.bodies)
            await delivery.done()

        living.read(TOPIC, work)
        await living.start()
        running = asyncio.create_task(living.run())
        await until(arrived, 20)
        await send(living, 20, 25)
        await until(arrived, 25)
        await asyncio.sleep(1.5)  # longer than a message waits to be given again
        running.cancel()
        await living.stop()
        assert arrived == [str(number) for number in range(25)]

    asyncio.run(story())


def test_a_nats_server_that_keeps_nothing_is_refused_with_what_it_lacks(tmp_path: Path) -> None:
    with nats_server(tmp_path, keeps=False) as url:
        lacking = opened(url)

        async def story() -> None:
            try:
                await lacking.start()
            finally:
                await lacking.stop()

        with pytest.raises(SourceUnavailable, match="has no JetStream") as refused:
            asyncio.run(story())
    assert "-js" in refused.value.do
