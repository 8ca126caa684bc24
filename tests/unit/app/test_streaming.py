"""What the house does with rows and jobs that arrive as messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.regions_world import make_home

from springtide.app.regions import region_facts
from springtide.app.streaming import handlers, payloads_of
from springtide.domain.errors import BadRows
from springtide.streams.messages import Payload, RowsMessage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from springtide.app.home import Home


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
    return list(rows(messages, payloads_of(home).read))


def test_one_refused_batch_leaves_the_counts_of_the_others_as_they_are(home: Home) -> None:
    messages = [batch(f"b{day}", Payload(text=csv(day))) for day in range(1, 28)]
    messages.insert(13, batch("bad", Payload(text="no,such,columns\n1,2,3\n")))
    outcomes = take(home, messages)
    assert [type(one) for one in outcomes if one is not None] == [BadRows]
    assert isinstance(outcomes[13], BadRows)
    (facts,) = region_facts(home, "covid")["regions"]
    assert (facts["batches"], facts["repeated"], facts["refused"]) == (27, 0, 1)
