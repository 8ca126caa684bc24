"""Batches from regions: each counts once, whoever sends it how often and whoever was killed when."""

from __future__ import annotations

import shutil
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from tests.regions_world import NOW, Batch, invented, make_home, table_as_sent, weekly

from springtide.app import intake
from springtide.app.home import Home, open_home
from springtide.app.intake import Arrival
from springtide.app.regions import accept, hand_in, region_facts, rejected_rows, taking
from springtide.domain.errors import BadRows, Conflict, NotFound, NotReady, SettingsError, TooLarge
from springtide.lake.table import Table
from springtide.registry.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from springtide.domain.regions import Receipt

THREE = 'regions = ["region 00", "region 01", "region 02"]\ntolerance = 0.6\nkeep_rejected = 5\nmax_body = 5000'
HEADER = b"date,confirmed,deaths\n"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return make_home(tmp_path, more=THREE)


def send(home: Home, data: bytes, batch: str | None = None, region: str = "region 00", now: datetime = NOW) -> Receipt:
    return accept(home, "covid", region=region, batch=batch, data=data, form="csv", now=now)


def day(number: int, confirmed: int, deaths: int = 0) -> bytes:
    return f"2020-03-{number:02},{confirmed},{deaths}\n".encode()


def counted(receipt: Receipt) -> tuple[int, int, int, int]:
    return receipt.new, receipt.corrected, receipt.unchanged, receipt.rejected


def facts(home: Home, region: str = "region 00") -> dict[str, Any]:
    return next(one for one in region_facts(home, "covid")["regions"] if one["region"] == region)


def test_what_many_regions_send_in_any_order_is_the_table(home: Home) -> None:
    rows = invented(3, 20)
    batches = weekly(rows)
    for batch in batches[::2] + batches[::-1]:  # the second half in disorder, the first twice
        send(home, batch.csv, batch.name, batch.region)
    assert table_as_sent(home).equals(rows.sort("region", "date"))
    assert sum(one["repeated"] for one in region_facts(home, "covid")["regions"]) == len(batches[::2])


def test_a_batch_that_is_sent_again_gets_its_first_receipt_and_changes_nothing(home: Home) -> None:
    first = send(home, HEADER + day(1, 5) + day(2, 7), "one")
    again = send(home, HEADER + day(1, 5) + day(2, 7), "one", now=NOW + timedelta(hours=1))
    assert counted(first) == (2, 0, 0, 0)
    assert (again.repeated, counted(again), again.version, again.at) == (True, (2, 0, 0, 0), first.version, NOW)
    assert home.lake.table("covid").version() == first.version
    known = facts(home)
    assert (known["batches"], known["repeated"], known["rows"], known["arrived"]) == (1, 1, 2, NOW + timedelta(hours=1))


def test_a_batch_without_a_name_is_known_by_its_content(home: Home) -> None:
    first, again = (send(home, HEADER + day(1, 5)) for _ in range(2))
    assert first.batch.startswith("sha256:")
    assert (first.repeated, again.repeated, again.batch) == (False, True, first.batch)


def test_the_same_name_with_other_content_is_refused_and_changes_nothing(home: Home) -> None:
    send(home, HEADER + day(1, 5), "one")
    with pytest.raises(Conflict, match="was taken with other content"):
        send(home, HEADER + day(1, 6), "one")
    assert table_as_sent(home)["confirmed"].to_list() == [5]
    assert send(home, HEADER + day(1, 6), "one", region="region 01").new == 1  # names are the regions' own


def test_a_batch_whose_name_was_taken_with_other_content_has_come_and_was_refused(home: Home) -> None:
    send(home, HEADER + day(1, 5) + b"2020-03-02,many,0\n", "one")
    for minutes, data in ((1, HEADER + day(1, 6)), (2, HEADER + b"x,1,1\n")):
        with pytest.raises(Conflict):
            send(home, data, "one", now=NOW + timedelta(minutes=minutes))
    known = facts(home)
    assert (known["batches"], known["repeated"], known["refused"]) == (1, 0, 2)
    assert known["arrived"] == NOW + timedelta(minutes=2)
    kept = [(row.row, row.reason) for row in rejected_rows(home, "covid")]
    assert kept == [
        (None, "batch 'one' was taken with other content on 2020-06-01 00:00 UTC"),
        (2, "confirmed is no integer: many"),
    ]


def test_late_rows_are_new_and_known_ones_are_corrected_or_unchanged(home: Home) -> None:
    send(home, HEADER + day(3, 5) + day(4, 7), "one")
    assert counted(send(home, HEADER + day(1, 1) + day(3, 5) + day(4, 8), "two")) == (1, 1, 1, 0)
    assert table_as_sent(home)["confirmed"].to_list() == [1, 5, 8]


def test_a_batch_that_says_nothing_new_counts_all_the_same(home: Home) -> None:
    send(home, HEADER + day(3, 5), "one")
    assert counted(send(home, HEADER + day(3, 5), "two")) == (0, 0, 1, 0)
    assert facts(home)["batches"] == 2
    with pytest.raises(Conflict):
        send(home, HEADER + day(3, 6), "two")


def test_an_old_batch_that_comes_again_after_its_rows_were_corrected_corrects_nothing_back(home: Home) -> None:
    send(home, HEADER + day(3, 5), "one")
    send(home, HEADER + day(3, 6), "two")
    assert send(home, HEADER + day(3, 5), "one").repeated
    assert table_as_sent(home)["confirmed"].to_list() == [6]


def test_bad_rows_are_kept_with_their_reasons_and_the_good_ones_are_taken(home: Home) -> None:
    receipt = send(home, HEADER + day(1, 5) + b"2020-03-02,many,0\n", "one")
    assert counted(receipt) == (1, 0, 0, 1)
    assert [(row.row, row.reason) for row in receipt.reasons] == [(2, "confirmed is no integer: many")]
    [kept] = rejected_rows(home, "covid")
    assert (kept.region, kept.batch, kept.row, kept.at) == ("region 00", "one", 2, NOW)
    assert '"y":"many"' in kept.cells
    assert facts(home)["rejected"] == 1


def test_a_batch_that_is_refused_leaves_its_reason_and_no_row_and_may_come_again_corrected(home: Home) -> None:
    with pytest.raises(BadRows, match="no column 'deaths'"):
        send(home, b"date,confirmed\n2020-03-01,5\n", "one")
    assert [(row.row, row.reason[:19]) for row in rejected_rows(home, "covid")] == [(None, "no column 'deaths';")]
    assert home.lake.names() == []
    assert facts(home)["refused"] == 1
    assert send(home, HEADER + day(1, 5), "one").new == 1


def test_what_a_reason_repeats_is_cut_and_harmless(home: Home) -> None:
    data = b'[{"date": 1, "a\\u0000b' + b"x" * 3000 + b'": 2}]'
    with pytest.raises(BadRows):
        accept(home, "covid", region="region 00", batch="one", data=data, form="json", now=NOW)
    [kept] = rejected_rows(home, "covid")
    assert kept.reason.startswith("no column 'confirmed'; found: date, a bxxx")
    assert len(kept.reason) == 1_000


def test_of_each_region_only_the_newest_rejected_rows_are_kept(home: Home) -> None:
    for number in range(20):
        bad = HEADER + day(1, number) + b"2020-03-02,many,0\n"
        send(home, bad, f"batch {number}", now=NOW + timedelta(minutes=number))
    send(home, HEADER + day(1, 1) + b"2020-03-02,many,0\n", "other", region="region 01")
    kept = rejected_rows(home, "covid", region="region 00")
    assert [row.batch for row in kept] == [f"batch {number}" for number in (19, 18, 17, 16, 15)]
    assert len(rejected_rows(home, "covid")) == 6
    assert facts(home)["rejected"] == 20


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"table": "covit"}, NotFound, "did you mean 'covid'"),
        ({"region": "region 22"}, NotFound, "did you mean 'region 02'"),
        ({"region": "a/b"}, SettingsError, "no / and no space"),
        ({"batch": "a\nb"}, SettingsError, "not a name of a batch"),
        ({"batch": ""}, SettingsError, "not a name of a batch"),
        ({"data": HEADER + b"0000-01-01,1,1\n"}, BadRows, "of the years 1900 to 2199"),
        ({"data": b"x" * 5001}, TooLarge, "larger than 5,000 bytes"),
    ],
)
def test_what_is_not_taken_says_why(home: Home, asked: dict[str, Any], error: type[Exception], words: str) -> None:
    usual = {"table": "covid", "region": "region 00", "batch": "one", "data": HEADER + day(1, 1), "form": "csv"}
    with pytest.raises(error, match=words):
        accept(home, now=NOW, **(usual | asked))


def test_batches_that_arrive_together_are_stored_in_few_commits(home: Home) -> None:
    batches = weekly(invented(3, 100))
    with ThreadPoolExecutor(16) as senders:
        receipts = list(senders.map(lambda one: send(home, one.csv, one.name, one.region), batches))
    assert sum(receipt.new for receipt in receipts) == 300
    assert table_as_sent(home).equals(invented(3, 100).sort("region", "date"))
    assert home.lake.table("covid").version() < len(batches) / 2


def test_one_batch_sent_by_many_at_once_counts_once(home: Home) -> None:
    with ThreadPoolExecutor(16) as senders:
        receipts = list(senders.map(lambda _: send(home, HEADER + day(1, 5), "one"), range(32)))
    assert sorted(receipt.repeated for receipt in receipts) == [False] + [True] * 31
    assert (facts(home)["batches"], facts(home)["repeated"]) == (1, 31)


def test_corrections_that_wait_together_are_made_in_the_order_in_which_they_came(home: Home) -> None:
    waiting = [
        hand_in(home, "covid", region="region 00", batch=str(number), data=HEADER + day(1, number), form="csv", now=NOW)
        for number in range(12)
    ]
    assert sorted(one.result().version for one in waiting) == list(range(12))
    assert table_as_sent(home)["confirmed"].to_list() == [11]


@contextmanager
def holding(home: Home) -> Iterator[None]:
    """Let nothing be stored, so that what arrives meanwhile waits together."""
    send(home, HEADER + day(1, 5), "zero")
    over = threading.Event()
    home.intake._threads["covid"].submit(over.wait)  # the thread that commits is held up
    try:
        yield
    finally:
        over.set()


def test_many_batches_of_one_region_that_wait_are_one_commit_soon(home: Home) -> None:
    with holding(home):
        days = [Batch("region 00", str(at), some) for at, some in enumerate(invented(1, 501).iter_slices(1))][1:]
        waiting = [
            hand_in(
                home,
                "covid",
                region=one.region,
                batch=one.name,
                data=one.rows.drop("region").write_csv().encode(),
                form="csv",
                now=datetime(2022, 1, 1, tzinfo=UTC),
            )
            for one in days
        ]
        began = time.process_time()
    assert {one.result().version for one in waiting} == {1}
    assert time.process_time() - began < 5


def test_batches_that_hold_one_key_or_have_one_name_go_into_different_commits(home: Home) -> None:
    with holding(home):
        sent = (
            ("one", day(2, 1) + day(3, 1)),
            ("two", day(4, 1)),
            ("three", day(5, 1) + day(3, 2)),
            ("three", day(6, 1)),
        )
        waiting = [
            hand_in(home, "covid", region="region 00", batch=name, data=HEADER + rows, form="csv", now=NOW)
            for name, rows in sent
        ]
    assert [one.result().version for one in waiting[:3]] == [1, 1, 2]
    assert isinstance(waiting[3].exception(), Conflict)


def test_a_batch_that_is_sent_again_while_it_waits_waits_once_and_every_sender_is_told(home: Home) -> None:
    def again(minutes: int) -> Future[Receipt]:
        at = NOW + timedelta(minutes=minutes)
        return hand_in(home, "covid", region="region 00", batch="one", data=HEADER + day(2, 5), form="csv", now=at)

    with holding(home):
        senders = [again(minutes) for minutes in range(5)]
        assert len(home.intake._waiting["covid"]) == 1  # what is held in memory
        senders[0].cancel()  # who has gone takes nothing back
    assert [sender.result().repeated for sender in senders[1:]] == [True] * 4
    assert {sender.result().version for sender in senders[1:]} == {1}
    known = facts(home)
    assert (known["batches"], known["repeated"], known["arrived"]) == (2, 4, NOW + timedelta(minutes=4))


def test_what_there_is_no_room_for_may_come_again_later(home: Home) -> None:
    send(home, HEADER + day(1, 5), "zero")
    size = arrival("one", table_rows(home), guilty=False).size
    home = replace(home, intake=intake.Intake(home.lake, home.registry, most_bytes=2 * size))

    def hand(number: int) -> Future[Receipt]:
        data = HEADER + day(number, 5)
        return hand_in(home, "covid", region="region 00", batch=str(number), data=data, form="csv", now=NOW)

    hand(1).result()
    with holding(home):
        waiting = [hand(2), hand(3)]
        with pytest.raises(NotReady, match="too many batches wait") as refused:
            hand(4)
        waiting.append(hand(3))  # takes no room
    assert (refused.value.status, refused.value.do) == (503, "send the batch again later")
    assert [one.result().new for one in waiting] == [1, 1, 1]
    assert hand(4).result().new == 1
    home.intake.close()


def test_a_batch_that_no_commit_can_hold_fails_alone(home: Home) -> None:
    with holding(home):
        rows, names = table_rows(home), ("one", "guilty", "two")
        waiting = [home.intake.put(arrival(name, rows, guilty=name == "guilty")) for name in names]
    assert [type(one.exception(60)) for one in waiting] == [type(None), BadRows, type(None)]
    assert facts(home)["batches"] == 3


def table_rows(home: Home) -> pl.DataFrame:
    return home.lake.table("covid").scan().collect().head(1)


def arrival(batch: str, rows: pl.DataFrame, *, guilty: bool) -> Arrival:
    """A batch of one row of its own; a guilty one has a column that the table has not."""
    day = {"one": 10, "guilty": 11, "two": 12}[batch]
    rows = rows.with_columns(pl.lit(datetime(2020, 3, day, tzinfo=UTC)).dt.cast_time_unit("us").alias("ds"))
    return Arrival(
        table="covid",
        key=("unique_id", "ds"),
        step_s=86_400,
        region="region 00",
        batch=batch,
        sha256="0" * 64,
        at=NOW,
        count=1,
        rows=rows.with_columns(pl.lit(1).alias("odd")) if guilty else rows,
        rejected=(),
        keep_rejected=5,
    )


def test_batches_that_cannot_be_compared_for_want_of_memory_are_stored_one_by_one(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: pl.Series) -> list[int]:
        raise MemoryError

    with monkeypatch.context() as tight:
        tight.setattr(pl.Series, "to_list", fail)
        assert send(home, HEADER + day(2, 5), "one").new == 1


def test_two_processes_that_take_the_same_batches_count_each_once(home: Home) -> None:
    other = open_home(home.settings)
    batches = weekly(invented(3, 30))

    def take(at: int) -> bool:
        one = batches[at // 2]
        return send((home, other)[at % 2], one.csv, one.name, one.region).repeated

    with ThreadPoolExecutor(8) as senders:
        repeated = list(senders.map(take, range(2 * len(batches))))
    assert sum(repeated) == len(batches)
    assert table_as_sent(home).equals(invented(3, 30).sort("region", "date"))
    assert sum(one["batches"] for one in region_facts(home, "covid")["regions"]) == len(batches)


def test_what_was_committed_but_not_indexed_is_found_when_it_is_asked_for(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise NotReady("the database is away", where="a test", do="wait")

    send(home, HEADER + day(1, 5), "zero")
    with monkeypatch.context() as broken:
        broken.setattr(Registry, "enter_batches", fail)
        with pytest.raises(NotReady):
            send(home, HEADER + day(2, 5) + b"2020-03-03,x,0\n", "one")
    assert (facts(home)["batches"], facts(home)["rows"], facts(home)["rejected"]) == (2, 2, 1)
    again = send(home, HEADER + day(2, 5) + b"2020-03-03,x,0\n", "one")
    assert (again.repeated, counted(again)) == (True, (1, 0, 0, 1))
    assert [row.row for row in rejected_rows(home, "covid")] == [2]


def test_the_index_is_made_again_from_the_commits_of_the_table(tmp_path: Path) -> None:
    home = make_home(tmp_path, more=THREE)
    for batch in weekly(invented(3, 30)):
        send(home, batch.csv, batch.name, batch.region)
    before = region_facts(home, "covid")
    for file in (tmp_path / "var").glob("springtide.db*"):
        file.unlink()
    home = open_home(home.settings)
    assert region_facts(home, "covid") == before
    assert send(home, batch.csv, batch.name, batch.region).repeated


def test_a_table_that_was_made_anew_takes_every_batch_again(tmp_path: Path) -> None:
    home = make_home(tmp_path, more=THREE)
    for number in range(3):
        send(home, HEADER + day(1, number), str(number))
    shutil.rmtree(tmp_path / "var" / "tables" / "covid")
    assert not send(home, HEADER + day(1, 0), "0").repeated
    assert table_as_sent(home)["confirmed"].to_list() == [0]
    assert facts(home)["batches"] == 1


def test_a_batch_that_was_taken_is_a_repetition_also_when_it_could_not_be_read_any_more(tmp_path: Path) -> None:
    send(make_home(tmp_path, more=THREE), HEADER + day(31, 5), "one")
    stricter = make_home(tmp_path, more=THREE.replace("max_body", 'key = ["deaths"]\nmax_body'))
    assert send(stricter, HEADER + day(31, 5), "one", now=datetime(2020, 1, 1, tzinfo=UTC)).repeated
    with pytest.raises(Conflict):
        send(stricter, HEADER + b"x,1,1\n", "one")


def test_a_store_that_fails_tells_every_sender_and_takes_the_batches_when_it_is_back(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device (os error 28)")

    with monkeypatch.context() as broken:
        broken.setattr(Table, "_create", fail)
        with pytest.raises(Exception, match="disk is full"):
            send(home, HEADER + day(1, 5), "one")
    assert not send(home, HEADER + day(1, 5), "one").repeated


def test_small_files_are_joined_as_they_gather(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "COMPACT_EVERY", 10)
    for number in range(12):
        send(home, HEADER + day(number + 1, number), str(number))
    home.intake.close()
    table = home.lake.table("covid")
    assert "optimize" in {change.operation for change in table.history()}
    assert len(pl.DataFrame(table.place.load("covid").get_add_actions(flatten=True))) <= 3  # type: ignore[union-attr]
    assert table_as_sent(home)["confirmed"].to_list() == list(range(12))


def test_a_region_has_reported_when_all_its_rows_of_a_period_are_there(home: Home) -> None:
    monday = date(2020, 3, 2)
    week = pl.DataFrame({"date": [monday + timedelta(days=at) for at in range(7)], "confirmed": 1, "deaths": 0})
    whole, part = Batch("", "", week).csv, Batch("", "", week.head(6)).csv
    send(home, whole, region="region 00")
    send(home, part, region="region 01")
    known = region_facts(home, "covid")
    assert [one["reported"] for one in known["regions"]] == [datetime(2020, 3, 2, tzinfo=UTC), None, None]
    assert (known["complete"], known["waiting_for"]) == (None, ["region 01", "region 02"])
    send(home, whole, region="region 01")
    send(home, whole, region="region 02")
    known = region_facts(home, "covid")
    assert (known["complete"], known["waiting_for"]) == (datetime(2020, 3, 2, tzinfo=UTC), [])


def test_a_table_or_region_that_is_not_known_is_refused_with_what_to_add(home: Home) -> None:
    for table, region in (("covid", "region 99"), ("covit", "region 00")):
        with pytest.raises(NotFound, match="do: add "):
            taking(home, table, region)


def test_a_batch_of_other_columns_hears_which_ones_a_row_has(home: Home) -> None:
    with pytest.raises(BadRows, match="no column 'date'") as refused:
        send(home, b"ds,y\n2020-03-01,5\n")
    assert refused.value.do.endswith("; a row has the columns date (time), confirmed (integer), deaths (integer)")
