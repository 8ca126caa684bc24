"""The consumer's process: ``python -m springtide.app.streaming``; the only one that imports what speaks to brokers."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from springtide.app.live_home import LiveHome
from springtide.app.streams.events import publish_events
from springtide.app.streams.handlers import Handlers, handlers
from springtide.app.streams.sending import broker_of, payloads_of, topic
from springtide.domain.clock import utc_now
from springtide.domain.errors import SettingsError, SpringtideError
from springtide.streams.broker import without_password
from springtide.streams.consuming import Consumer, Delivery, Inlet, Take
from springtide.streams.messages import JobMessage, RowsMessage, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from springtide.app.home import Home
    from springtide.streams.broker import Broker
    from springtide.streams.messages import DeadMessage

__all__ = ["Consuming", "main", "run"]

LOG = logging.getLogger("springtide.streams")
PAYLOADS_KEPT = timedelta(days=30)  # longer than brokers keep messages, and as long as the originals of dead letters
SWEEP_S = 3600.0
QUIET_S = 60.0  # without a delivery: what had piled up has been read
LONGEST_WAIT_S = 30.0
GRACE_S = 8.0  # for what is being handled to come to its end
START_S = 12.0  # for a client to connect, and for a broker to free what a dead consumer held
LOOK_S = 1.0  # how often the outbox is looked at
DUTY, DUTY_SPAN = "stream events", timedelta(seconds=15)


class Consuming:
    """The broker's messages handled and the outbox's events published, until told to stop."""

    def __init__(self, home: Home, handlers: Handlers) -> None:
        self._home = home
        self._payloads = payloads_of(home)
        self._handlers = handlers
        self._told = asyncio.Event()
        self._working = 0  # deliveries
        self._worked = time.monotonic()  # when the last one ended
        self._broken: BaseException | None = None
        self._broker: Broker
        patience_s = home.settings.streams.patience.total_seconds()
        self._consumer = Consumer(self._payloads, self._bury, patience_s=patience_s, check=self._check)

    def stop(self) -> None:
        """Stop; what is being handled comes to its end first."""
        self._told.set()

    async def run(self) -> None:
        """Connect, and work until told to stop; says when it begins to read.

        Raises
        ------
        BaseException
            Whatever broke in the handling itself, also what is no `Exception`, as the panic of a library in Rust: nothing
            is acknowledged after that, and a new process begins there.
        """
        if not await self._connect():
            return
        sys.stdout.write(f"Springtide reads {' and '.join(inlet.topic for inlet in self._inlets())}\n")
        sys.stdout.flush()
        duties = [asyncio.create_task(one()) for one in (self._told.wait, self._broker.run, self._publish, self._sweep)]
        done, _ = await asyncio.wait(duties, return_when=asyncio.FIRST_COMPLETED)
        self._told.set()  # also where one of them broke: nothing more is taken
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                while self._working and self._broken is None:
                    await asyncio.sleep(0.05)
        for duty in duties:
            duty.cancel()
        await asyncio.gather(*duties, return_exceptions=True)
        try:
            await self._broker.stop()
        except Exception as error:  # noqa: BLE001 # of a broker that is away: what is not acknowledged comes again
            LOG.warning("the broker could not be told of the end: %s", without_password(error))
        for duty in done:
            duty.result()
        if self._broken is not None:
            raise self._broken

    async def _connect(self) -> bool:
        """Connect, again and again while the broker is away; False when told to stop meanwhile."""
        wait = 0.5
        while not self._told.is_set():
            self._broker = broker_of(self._home)
            for inlet in self._inlets():
                self._broker.read(inlet.topic, self._taking(inlet))
            try:
                await self._start()
            except SettingsError:
                raise
            except Exception as error:  # noqa: BLE001 # every client has errors of its own
                LOG.warning("the broker does not answer, again in %g s: %s", wait, without_password(error))
                with suppress(Exception):  # it has not started
                    await self._broker.stop()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._told.wait(), wait)
                wait = min(LONGEST_WAIT_S, 2 * wait)
            else:
                return True
        return False

    async def _start(self) -> None:
        """Start the broker's client; one that tries for ever is given up after a while, or when told to stop."""
        starting, telling = asyncio.create_task(self._broker.start()), asyncio.create_task(self._told.wait())
        await asyncio.wait((starting, telling), timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
        telling.cancel()
        if not starting.done():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            raise TimeoutError(f"no answer in {START_S:g} s")
        starting.result()

    def _inlets(self) -> list[Inlet[Any]]:
        inlets: list[Inlet[Any]] = []
        if self._handlers.rows is not None:
            inlets.append(Inlet(topic(self._home, "rows"), RowsMessage, self._handlers.rows))
        if self._handlers.jobs is not None:
            inlets.append(Inlet(topic(self._home, "jobs"), JobMessage, self._handlers.jobs))
        return inlets

    def _taking(self, inlet: Inlet[Any]) -> Take:
        async def take(delivery: Delivery) -> None:
            if self._told.is_set():
                await asyncio.Event().wait()  # to return would let the client go on past it
            self._working += 1
            try:
                await self._consumer.take(inlet, delivery)
            except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # noqa: BLE001 # a fault of ours or a library's panic, told by `run`
                self._broken = error
                self._told.set()
                await asyncio.Event().wait()
            finally:
                self._working -= 1
                self._worked = time.monotonic()

        return take

    def _check(self) -> None:
        """Raise where the database does not answer or the store takes nothing."""
        self._home.registry.due_notices(utc_now(), 1)
        self._payloads.remove([self._payloads.store(b"is the store there?")])

    async def _bury(self, letter: DeadMessage) -> None:
        # The same message may die twice: a broker that drops what it has seen must not drop its second letter.
        name = f"{letter.id}-{letter.at.isoformat()}"
        await self._broker.publish(topic(self._home, "dead"), encode(letter), key=letter.topic, message_id=name)

    async def _publish(self) -> None:
        """Publish what the outbox holds for the stream; one process at a time does."""
        me, wait = f"{socket.gethostname()}:{os.getpid()}", LOOK_S
        events = topic(self._home, "events")

        def mine() -> bool:
            return self._home.registry.lease(DUTY, me, utc_now(), DUTY_SPAN)

        while True:
            try:
                await publish_events(self._home, self._broker, events, mine=mine)
                wait = LOOK_S
            except Exception as error:  # noqa: BLE001 # of the client or the database: the outbox keeps what it holds
                wait = min(LONGEST_WAIT_S, 2 * wait)
                LOG.warning("events could not be published, again in %g s: %s", wait, without_password(error))
            await asyncio.sleep(wait)

    async def _sweep(self) -> None:
        """Take payloads away that nobody has handled for a month, when what had piled up has been read.

        RabbitMQ keeps messages for as long as nobody reads them.
        """
        self._worked = time.monotonic()
        while True:
            while self._working or time.monotonic() - self._worked < QUIET_S:
                await asyncio.sleep(LOOK_S)
            try:
                await asyncio.to_thread(self._payloads.sweep, utc_now() - PAYLOADS_KEPT)
            except SpringtideError as error:
                LOG.warning("old payloads could not be taken away: %s", error)
            await asyncio.sleep(SWEEP_S)


def run(config: Path, handlers_of: Callable[[Home], Handlers]) -> int:
    """Consume until told to stop; the exit code is 2 when it cannot start.

    When springtide.toml has changed and can be used, what is being handled comes to its end, and consuming goes on with
    the new settings.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("springtide").setLevel(logging.INFO)
    logging.getLogger("springtide.streams.client").setLevel(logging.WARNING)
    try:
        live, going_on = LiveHome(config, check=broker_of), True
        while going_on:
            home = live.look()
            going_on = asyncio.run(_run(live, home, handlers_of(home)))
            if not going_on or live.look().registry is not home.registry:
                home.close()
    except SpringtideError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 2
    return 0


async def _run(live: LiveHome, home: Home, handlers: Handlers) -> bool:
    """Consume until told to stop (False), or until there are other settings (True)."""
    consuming, told = Consuming(home, handlers), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    telling, watching = asyncio.create_task(told.wait()), asyncio.create_task(_watch(live, home))
    for one in (telling, watching):
        one.add_done_callback(lambda _: consuming.stop())
    await consuming.run()
    for one in (telling, watching):
        one.cancel()
    return watching.done() and not told.is_set()


async def _watch(live: LiveHome, home: Home) -> None:
    """Wait until there is another home."""
    while await asyncio.to_thread(live.look) is home:
        await asyncio.sleep(LOOK_S)


def main(arguments: list[str] | None = None) -> int:
    """Consume with the handlers of this house."""
    parser = argparse.ArgumentParser(description="A Springtide consumer of streams.")
    parser.add_argument("--config", type=Path, default=Path("springtide.toml"))
    return run(parser.parse_args(arguments).config, handlers)


if __name__ == "__main__":
    sys.exit(main())
