"""A server that is killed while regions send: no batch is lost, and none counts twice."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.ports import free_port
from tests.regions_sending import Server, check, send_all
from tests.regions_world import NOW, invented, make_config, make_home, table_as_sent, weekly

from springtide.app.regions import accept, region_facts, rejected_rows

if TYPE_CHECKING:
    from pathlib import Path

# Takes a batch and dies at the point that is named; a row of it is bad.
VICTIM = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from springtide.app.home import open_home, read_settings
from springtide.app.regions import accept
from springtide.lake.table import Table
from springtide.registry.registry import Registry

config, owner, name = sys.argv[1:]
die = lambda *_, **__: os.kill(os.getpid(), 9)
home = open_home(read_settings(Path(config), environ={}))
batch = lambda name, data: accept(
    home, "covid", region="omsk", batch=name, data=data.encode(), form="csv", now=datetime(2020, 6, 1, tzinfo=UTC)
)
batch("zero", "date,confirmed,deaths\\n2020-03-01,1,0\\n")
setattr({"Table": Table, "Registry": Registry}[owner], name, die)
batch("one", "date,confirmed,deaths\\n2020-03-01,2,0\\n2020-03-02,3,0\\n2020-03-03,x,0\\n")
"""
ONE = b"date,confirmed,deaths\n2020-03-01,2,0\n2020-03-02,3,0\n2020-03-03,x,0\n"


@pytest.mark.parametrize(
    ("owner", "name", "was_stored"),
    [
        ("Registry", "reject_rows", False),  # before its rejected rows are kept
        ("Table", "_apply", False),  # before the commit
        ("Registry", "enter_batches", True),  # after the commit, before the index
    ],
)
def test_a_batch_whose_receipt_was_lost_is_taken_or_known_when_it_comes_again(
    tmp_path: Path, owner: str, name: str, was_stored: bool
) -> None:
    home = make_home(tmp_path, more="tolerance = 0.5")
    victim = [sys.executable, "-c", VICTIM, str(tmp_path / "springtide.toml"), owner, name]
    assert subprocess.run(victim, check=False).returncode == -9
    again = accept(home, "covid", region="omsk", batch="one", data=ONE, form="csv", now=NOW)
    assert (again.repeated, again.new, again.corrected, again.rejected) == (was_stored, 1, 1, 1)
    assert table_as_sent(home)["confirmed"].to_list() == [2, 3]
    assert [(row.batch, row.row) for row in rejected_rows(home, "covid")] == [("one", 3)]
    [facts] = region_facts(home, "covid")["regions"]
    assert (facts["batches"], facts["rows"], facts["corrected"], facts["rejected"]) == (2, 2, 1, 1)


def test_a_server_that_is_killed_while_regions_send_loses_no_batch_and_counts_none_twice(tmp_path: Path) -> None:
    rows = invented(8, 42)
    batches = weekly(rows)
    port = free_port()
    config = make_config(tmp_path, port=port)
    with Server(config, port) as server:
        sending = send_all(server, batches, senders=8, kills=2)
        assert len(sending.seconds) == len(batches)
        check(config, batches, rows)
        assert send_all(server, batches, senders=8).repeated == len(batches)
    check(config, batches, rows)
    assert table_as_sent(make_home(tmp_path)).equals(rows.sort("region", "date"))
