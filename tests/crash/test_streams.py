"""The consumer of production killed with -9 at random moments: every batch is in one commit, every row there once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests import stream_world as world
from tests.brokers import broker

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("kind", "kills"), [("redis", 2)])
def test_killed_in_the_middle_no_batch_is_lost_or_counted_twice(kind: str, kills: int, tmp_path: Path) -> None:
    with broker(kind, tmp_path) as url:
        home = world.make_home(tmp_path / "home", url, together=20)
        numbers = [*range(300), *range(0, 300, 10)]  # every tenth is sent twice
        world.send(home, [world.as_sent(world.rows_message(one), turn) for turn, one in enumerate(numbers)])
        assert world.kill_many(home, tmp_path / "home", batches=300, kills=kills, seed=3) == kills
        counts = world.tally(home, batches=300, rows=5)
    wrong = ("batches lost", "batches stored twice", "batches counted wrong", "rows lost", "rows twice")
    assert {name: counts[name] for name in wrong} == dict.fromkeys(wrong, 0)
