"""What the house does with rows and jobs that arrive as messages."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from tests.brokers import broker
from tests.regions_world import make_home

from springtide.app.regions import region_facts
from springtide.app.streams.handlers import handlers
from springtide.app.streams.sending import payloads_of, send_rows
from springtide.domain.errors import BadMessage, BadRows, Conflict, StoreFailed, TooLarge
from springtide.lake.table import Table
from springtide.streams.broker import open_broker
from springtide.streams.messages import File, JobMessage, Payload, RowsMessage, decode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from springtide.app.home import Home
    from springtide.streams.consuming import Delivery


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return make_home(tmp_path)


def csv(day: int, deaths: str = "1") -> str:
    return f"date,confirmed,deaths\n2020-03-{day:02},{day},{deaths}\n"


def batch(name: str, data: Payload, *, table: str = "covid", region: str = "kostroma") -> RowsMessage:
    return RowsMessage(table=table, region=region, batch=name, form="csv", data=data)


def take(home: Home, messages: Sequence[RowsMessage]) -> list[Exception | None]:
    rows = handlers(home).rows
    assert rows is not None
    return list(rows(messages, payloads_of(home)))


def test_one_refused_batch_leaves_the_counts_of_the_others_as_they_are(home: Home) -> None:
    messages = [batch(f"b{day}", Payload(text=csv(day))) for day in range(1, 28)]
    messages.insert(13, batch("bad", Payload(text="no,such,columns\n1,2,3\n")))
    outcomes = take(home, messages)
    assert [type(one) for one in outcomes if one is not None] == [BadRows]
    assert isinstance(outcomes[13], BadRows)
    (facts,) = region_facts(home, "covid")["regions"]
    assert (facts["batches"], facts["repeated"], facts["refused"]) == (27, 0, 1)


def large(home: Home, day: int) -> Payload:
    return payloads_of(home).store(csv(day).encode())


def test_a_batch_in_the_store_that_comes_again_after_its_bytes_have_gone_is_a_repetition(home: Home) -> None:
    message = batch("w1", large(home, 1))
    assert take(home, [message]) == [None]
    payloads_of(home).remove(message.payloads)
    assert take(home, [message]) == [None]
    (facts,) = region_facts(home, "covid")["regions"]
    assert (facts["batches"], facts["repeated"]) == (1, 1)
    assert [type(one) for one in take(home, [batch("w1", large(home, 2))])] == [Conflict]
    (facts,) = region_facts(home, "covid")["regions"]
    assert facts["refused"] == 1


def test_a_correction_never_overtakes_the_batch_that_it_corrects(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    stored, calls = Table.write_parcels, count()

    def write_at_the_second_try(table: Table, choose: Any) -> Any:
        if next(calls) == 0:
            raise StoreFailed("the store is away", where="a test", do="wait")
        return stored(table, choose)

    monkeypatch.setattr(Table, "write_parcels", write_at_the_second_try)
    first, correction = batch("w1", Payload(text=csv(1, "1"))), batch("w2", Payload(text=csv(1, "2")))
    other = batch("w3", Payload(text=csv(1, "3")), region="moscow")
    outcomes = take(home, [first, correction, other])
    assert [type(one) for one in outcomes] == [StoreFailed] * 3
    assert take(home, [first, correction, other]) == [None] * 3
    table = home.lake.table("covid").scan().filter(pl.col("region") == "kostroma").collect()
    assert table["deaths"].to_list() == [2]


def test_a_batch_in_the_store_that_is_larger_than_the_table_takes_is_not_read(tmp_path: Path) -> None:
    home = make_home(tmp_path, more="max_body = 1_000")
    payload = payloads_of(home).store(b"x" * 1_001)
    payloads_of(home).remove([payload])
    assert [type(one) for one in take(home, [batch("w1", payload)])] == [TooLarge]


def test_a_job_that_comes_again_after_its_large_files_have_gone_is_the_same_job(home: Home) -> None:
    data = payloads_of(home).store(b"a,b\n1,2\n")
    job = JobMessage(id="j1", params={"target": "b"}, data=File(name="train.csv", content=data))
    jobs = handlers(home).jobs
    assert jobs is not None
    assert jobs([job], payloads_of(home)) == [None]
    payloads_of(home).remove(job.payloads)
    assert jobs([job], payloads_of(home)) == [None]
    assert len(home.registry.jobs()) == 1
    other = JobMessage(id="j2", params={"target": "b"}, data=job.data)
    assert [type(one) for one in jobs([other], payloads_of(home))] == [BadMessage]


def test_a_job_is_queued_with_all_its_files(home: Home) -> None:
    roles = ("data", "model", "script", "requirements")
    files = {role: File(name=f"{role}.txt", content=Payload(text=role)) for role in roles}
    jobs = handlers(home).jobs
    assert jobs is not None
    assert jobs([JobMessage(id="j1", params={"target": "b"}, **files)], payloads_of(home)) == [None]
    (job,) = home.registry.jobs()
    assert dict(job.files) == {role: f"{role}.txt" for role in roles}


def test_another_content_under_the_name_of_a_batch_reaches_the_consumer_and_is_a_conflict(tmp_path: Path) -> None:
    with broker("nats", tmp_path) as url:
        home = make_home(tmp_path, more=f'[streams]\nurl = "{url}"\n')
        for data in (csv(1), csv(2)):
            asyncio.run(send_rows(home, batch("w1", Payload(text=data))))
        came = received(url, 2)
    assert [one is None or type(one) for one in take(home, [decode(body, RowsMessage) for body in came])] == [
        True,
        Conflict,
    ]


def received(url: str, count: int) -> list[bytes]:
    """The first messages of the topic of rows."""

    async def read() -> list[bytes]:
        found: list[bytes] = []
        reader = open_broker(url, group="people", prefix="springtide", together=10)

        async def take(delivery: Delivery) -> None:
            found.extend(delivery.bodies)
            await delivery.done()

        reader.read("springtide.rows", take)
        await reader.start()
        running = asyncio.create_task(reader.run())
        async with asyncio.timeout(20):
            while len(found) < count:
                await asyncio.sleep(0.05)
        running.cancel()
        await reader.stop()
        return found

    return asyncio.run(read())


def test_an_error_of_a_job_says_the_id_of_its_message(home: Home) -> None:
    job = JobMessage(id="shop-2", params={"targt": "y"}, data=File(name="a.csv", content=Payload(text="y\n1\n")))
    jobs = handlers(home).jobs
    assert jobs is not None
    (error,) = jobs([job], payloads_of(home))
    assert isinstance(error, BadRows)
    assert error.where.startswith("job shop-2: ")
