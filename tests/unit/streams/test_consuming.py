"""Messages are handled in order, tried again when that may help, set aside when not, and acknowledged last."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from springtide.domain.errors import BadMessage, BadRows, NotReady, StoreFailed
from springtide.streams.consuming import PASSING, Consumer, Delivery, Inlet
from springtide.streams.messages import INLINE, DeadMessage, Payload, RowsMessage, encode
from springtide.streams.payloads import Payloads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


class World:
    """A consumer whose clock jumps over every wait, and what it did."""

    def __init__(self, folder: Path, *, patience_s: float = 60) -> None:
        self.time = 0.0
        self.done: list[str] = []  # batches in the order in which they were handled
        self.calls: list[list[str]] = []
        self.dead: list[DeadMessage] = []
        self.told = 0
        self.fail: Callable[[str], Exception | None] = lambda _batch: None
        self.no_letters = 0  # so many dead letters fail to be sent
        self.largest_letter = 10 * INLINE  # bytes
        self.payloads = Payloads(str(folder / "streams"))
        self.outage_until = 0.0
        self.consumer = Consumer(
            self.payloads,
            self.bury,
            patience_s=patience_s,
            check=self.check,
            clock=lambda: self.time,
            sleep=self.sleep,
        )

    def check(self) -> None:
        if self.time < self.outage_until:
            raise StoreFailed("the store is away", where="x", do="wait")

    async def sleep(self, seconds: float) -> None:
        self.time += seconds

    async def bury(self, letter: DeadMessage) -> None:
        if self.no_letters:
            self.no_letters -= 1
            raise ConnectionError("the broker is away")
        if len(encode(letter)) > self.largest_letter:
            raise ValueError("the broker takes no such large message")
        self.dead.append(letter)

    async def acknowledge(self) -> None:
        self.told += 1

    def handle(self, messages: Sequence[RowsMessage], payloads: Payloads) -> list[Exception | None]:
        self.calls.append([message.batch for message in messages])
        outcomes: list[Exception | None] = []
        for message in messages:
            outcomes.append(self.outcome(message, payloads))
            if isinstance(outcomes[-1], PASSING):
                break
        return outcomes + outcomes[-1:] * (len(messages) - len(outcomes))

    def outcome(self, message: RowsMessage, payloads: Payloads) -> Exception | None:
        try:
            payloads.read(message.data)
        except BadMessage as error:
            return error
        if (error := self.fail(message.batch)) is None:
            self.done.append(message.batch)
        return error

    def take(self, *messages: RowsMessage | bytes) -> None:
        bodies = [one if isinstance(one, bytes) else encode(one) for one in messages]
        inlet = Inlet("springtide.rows", RowsMessage, self.handle)
        asyncio.run(self.consumer.take(inlet, Delivery(bodies, self.acknowledge)))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def batch(name: str, table: str = "t", data: Payload | None = None) -> RowsMessage:
    return RowsMessage(table=table, region="r", batch=name, form="csv", data=data or Payload(text="x"))


def failing(times: int, *names: str, error: Exception | None = None) -> Callable[[str], Exception | None]:
    """The first `times` calls with one of these batches fail."""
    left = [times]

    def fail(name: str) -> Exception | None:
        if name not in names or not left[0]:
            return None
        left[0] -= 1
        return error or NotReady("the database is away", where="x", do="wait")

    return fail


def test_messages_of_one_table_that_came_together_are_handled_together(world: World) -> None:
    world.take(batch("1"), batch("2", "u"), batch("3"))
    assert world.calls == [["1", "3"], ["2"]]
    assert world.told == 1


def test_what_fails_for_a_reason_that_passes_is_tried_again_in_order_while_other_tables_go_on(world: World) -> None:
    world.fail = failing(4, "1")
    world.take(batch("1"), batch("2"), batch("3", "u"))
    assert world.done == ["3", "1", "2"]
    assert world.time == pytest.approx(0.1 + 0.2 + 0.4 + 0.8)
    assert world.dead == []


def test_nothing_is_acknowledged_before_all_is_done(world: World) -> None:
    told: list[int] = []

    def fail(name: str) -> Exception | None:
        told.append(world.told)
        return StoreFailed("the disk is full", where="x", do="wait") if len(told) < 5 else None

    world.fail = fail
    world.take(batch("1"), batch("2", "u"))
    assert set(told) == {0}
    assert world.told == 1


def test_a_message_that_cannot_be_read_goes_to_the_dead_letters_and_the_others_are_handled(world: World) -> None:
    world.take(b"\xff{", batch("1"))
    assert world.done == ["1"]
    (letter,) = world.dead
    assert letter.topic == "springtide.rows"
    assert letter.what.startswith("this is no RowsMessage")
    assert world.payloads.read(letter.original) == b"\xff{"
    assert world.told == 1


def test_one_batch_that_is_refused_among_many_is_found_and_the_others_keep_their_order(world: World) -> None:
    world.fail = failing(99, "3", error=BadRows("no column y", where="t", do="add it"))
    world.take(*(batch(str(number)) for number in range(1, 6)))
    assert world.done == ["1", "2", "4", "5"]
    assert len(world.calls) == 1
    assert [(letter.what, letter.where, letter.do) for letter in world.dead] == [("no column y", "t", "add it")]
    assert world.time == 0


def test_a_fault_of_the_handler_is_tried_three_times_and_then_set_aside(world: World) -> None:
    world.fail = failing(99, "1", error=KeyError("surprise"))
    world.take(batch("1"), batch("2"))
    assert world.calls == [["1", "2"], ["1"], ["1"]]
    assert world.done == ["2"]
    assert [letter.what for letter in world.dead] == ["KeyError: 'surprise'"]


def test_a_table_that_stays_broken_holds_up_the_others_once(tmp_path: Path) -> None:
    world = World(tmp_path, patience_s=60)
    broken = {str(number) for number in range(500)}
    world.fail = lambda name: StoreFailed("broken", where="x", do="wait") if name in broken else None
    world.take(*(batch(str(number)) for number in range(400)), batch("a", "u"))
    assert len(world.dead) == 400
    assert 60 <= (first := world.time) < 120
    world.take(*(batch(str(number)) for number in range(400, 500)), batch("b", "u"))
    assert len(world.dead) == 500
    assert world.time - first < 1
    assert world.done == ["a", "b"]


def test_a_table_that_goes_again_has_its_patience_back(tmp_path: Path) -> None:
    world = World(tmp_path, patience_s=60)
    world.fail = lambda name: StoreFailed("broken", where="x", do="wait") if name == "1" else None
    world.take(batch("1"))
    world.take(batch("2"))
    world.fail = failing(5, "3")
    world.take(batch("3"))
    assert [letter.what for letter in world.dead] == ["broken"]
    assert world.done == ["2", "3"]


def test_in_an_outage_all_wait_however_long_it_lasts_and_nothing_is_set_aside(tmp_path: Path) -> None:
    world = World(tmp_path, patience_s=60)
    world.outage_until = 5_000
    world.fail = lambda _: StoreFailed("away", where="x", do="wait") if world.time < world.outage_until else None
    world.take(*(batch(str(number)) for number in range(5)), batch("a", "u"))
    assert world.dead == []
    assert sorted(world.done) == ["0", "1", "2", "3", "4", "a"]


def test_what_a_handler_raises_is_said_of_every_message_it_was_given(world: World) -> None:
    def broken(messages: Sequence[RowsMessage], _: Payloads) -> list[Exception | None]:
        raise BadRows(f"not {len(messages)}", where="t", do="x")

    inlet = Inlet("springtide.rows", RowsMessage, broken)
    delivery = Delivery([encode(batch("1")), encode(batch("2"))], world.acknowledge)
    asyncio.run(world.consumer.take(inlet, delivery))
    assert [letter.what for letter in world.dead] == ["not 2", "not 2"]
    assert world.told == 1


def test_a_dead_letter_that_cannot_be_sent_is_sent_again_before_anything_is_acknowledged(world: World) -> None:
    world.no_letters = 3
    world.take(b"{")
    assert len(world.dead) == 1
    assert world.time == pytest.approx(0.1 + 0.2 + 0.4)
    assert world.told == 1


def test_a_letter_that_is_too_large_for_the_broker_is_sent_as_a_reference_to_the_store(world: World) -> None:
    world.largest_letter = 2_000
    world.take(b"x" * 5_000, batch("1"))
    assert world.done == ["1"]
    (letter,) = world.dead
    assert letter.original.stored is not None
    assert world.payloads.read(letter.original) == b"x" * 5_000


def test_the_words_of_a_letter_are_cut_however_much_the_error_repeats(world: World) -> None:
    world.fail = failing(99, "1", error=BadRows("w" * 10**6, where="x" * 10**6, do="y" * 10**6))
    world.take(batch("1"))
    (letter,) = world.dead
    assert [len(words) for words in (letter.what, letter.where, letter.do)] == [1_000, 1_000, 1_000]


def test_the_payload_of_a_handled_message_is_removed_and_that_of_a_dead_one_kept(world: World) -> None:
    good, bad = (world.payloads.wrap(b"a" * (INLINE + 1)) for _ in range(2))
    world.fail = failing(99, "bad", error=BadRows("no", where="t", do="x"))
    world.take(batch("good", data=good), batch("bad", data=bad))
    assert world.done == ["good"]
    assert len(world.payloads.read(bad)) == INLINE + 1
    with pytest.raises(BadMessage, match="is gone"):
        world.payloads.read(good)


def test_payloads_stay_when_the_broker_could_not_be_told_because_the_message_comes_again(world: World) -> None:
    data = world.payloads.wrap(b"a" * (INLINE + 1))

    async def broken() -> None:
        raise ConnectionError("gone")

    inlet = Inlet("springtide.rows", RowsMessage, world.handle)
    asyncio.run(world.consumer.take(inlet, Delivery([encode(batch("1", data=data))], broken)))
    assert world.done == ["1"]
    assert len(world.payloads.read(data)) == INLINE + 1


def test_a_message_whose_payload_was_changed_is_set_aside(world: World, tmp_path: Path) -> None:
    data = world.payloads.wrap(b"a" * (INLINE + 1))
    next(path for path in (tmp_path / "streams").rglob("*") if path.is_file()).write_bytes(b"b")
    world.take(batch("1", data=data), batch("2"))
    assert world.done == ["2"]
    assert "size or digest differs" in world.dead[0].what


def test_more_than_32_mib_are_not_handled_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("springtide.streams.consuming.TOGETHER_BYTES", 10)
    world.take(*(batch(str(number), data=Payload(text="12345")) for number in range(1, 6)))
    assert world.calls == [["1", "2"], ["3", "4"], ["5"]]
