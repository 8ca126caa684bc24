"""What is due is started, once, whatever the clock and the process do."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from tests.unit.app.scheduler_world import NOON, World, model, open_in

from springtide.domain.errors import NotReady, SourceUnavailable
from springtide.pipeline.triggers.request import request

if TYPE_CHECKING:
    from pathlib import Path

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
EXCHANGE = '[sources.spot]\nkind = "exchange"\nexchange = "binance"\nsymbols = ["BTC/USDT"]\ntimeframe = "1h"\n'


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("migrated")
    open_in(folder, "")
    return folder


@pytest.fixture
def world(migrated: Path, tmp_path: Path) -> World:
    folder = shutil.copytree(migrated, tmp_path / "home")
    return World(folder, open_in(folder, ""))


# --- cron -------------------------------------------------------------------------------------------------------------


def test_a_cron_seen_for_the_first_time_does_not_fire_for_the_past(world: World) -> None:
    world.reads(model("btc", 'cron = "* * * * *"'))
    world.ticks(world.scheduler(), "12:00:30", "12:00:59")
    assert world.submitted == []


def test_a_tick_fires_once(world: World) -> None:
    world.reads(model("btc", 'cron = "5 * * * *"'))
    reports = world.ticks(world.scheduler(), "12:04:59", "12:05:00", "12:05:01", "12:59:59", "13:05:00")
    fired = {"btc": ("cron 5 * * * *",)}
    assert [report.submitted for report in reports] == [{}, fired, {}, {}, fired]
    assert world.submitted == [("btc", ("cron 5 * * * *",))] * 2


def test_a_schedule_is_read_by_the_clocks_of_its_zone(world: World) -> None:
    world.reads(model("btc", 'cron = "30 15 * * *"\ntimezone = "Europe/Moscow"'))
    world.ticks(world.scheduler(), "12:00:00", "12:29:59", "12:30:00")
    assert world.submitted == [("btc", ("cron 30 15 * * * Europe/Moscow",))]


def test_ticks_missed_while_nothing_ran_fire_once(world: World) -> None:
    world.reads(model("btc", 'cron = "*/10 * * * *"'))
    world.ticks(world.scheduler(), "12:00:00")
    world.ticks(world.scheduler(), "15:31:00", "15:31:01", "15:40:00")
    assert [reasons for _, reasons in world.submitted] == [
        ("cron */10 * * * *, missed since 2026-03-02 12:10 UTC",),
        ("cron */10 * * * *",),
    ]


def test_a_clock_that_is_set_back_does_not_repeat_what_has_fired(world: World) -> None:
    world.reads(model("btc", 'cron = "*/10 * * * *"'))
    scheduler = world.scheduler()
    world.ticks(scheduler, "12:00:00", "12:10:00", "12:20:00")
    world.ticks(scheduler, "11:15:00", "12:10:00", "12:20:00")
    world.ticks(world.scheduler(), "12:20:00")  # nor does a process that starts then
    assert len(world.submitted) == 2
    world.ticks(scheduler, "12:30:00")
    assert len(world.submitted) == 3


def test_a_clock_that_jumps_far_ahead_fires_once_and_does_not_silence_the_schedule_when_it_is_put_right(
    world: World,
) -> None:
    world.reads(model("btc", 'cron = "*/10 * * * *"'))
    scheduler = world.scheduler()
    world.ticks(scheduler, "12:00:00", 400 * DAY, SECOND, SECOND)
    assert len(world.submitted) == 1
    world.ticks(scheduler, -400 * DAY)
    assert len(world.submitted) == 1
    world.ticks(scheduler, "12:10:00")
    world.ticks(world.scheduler(), "12:10:01")
    assert len(world.submitted) == 2


def test_a_changed_schedule_has_missed_nothing(world: World) -> None:
    world.reads(model("btc", 'cron = "5 * * * *"'))
    world.ticks(world.scheduler(), "12:00:00")
    world.reads(model("btc", 'cron = "6 * * * *"'))
    world.ticks(world.scheduler(), "15:00:00")
    assert world.submitted == []


def test_a_model_that_is_no_longer_in_the_file_is_left_alone(world: World) -> None:
    world.reads(model("btc", 'cron = "5 * * * *"') + model("eth", 'cron = "5 * * * *"'))
    world.ticks(world.scheduler(), "12:00:00")
    request(world.home.registry, "btc", "asked for", at=world.now)
    world.reads(model("eth", 'cron = "5 * * * *"'))
    world.ticks(world.scheduler(), "12:05:00")
    assert [name for name, _ in world.submitted] == ["eth"]


# --- age --------------------------------------------------------------------------------------------------------------


def test_a_model_without_a_champion_is_older_than_any_age_once(world: World) -> None:
    world.reads(model("btc", 'max_age = "7d"'))
    scheduler = world.scheduler()
    world.ticks(scheduler, SECOND, SECOND, DAY, 5 * DAY)
    assert world.submitted == [("btc", ("no version serves yet (max_age 1w)",))]
    world.ticks(scheduler, DAY, SECOND)
    assert len(world.submitted) == 2


def test_a_champion_that_is_too_old_gets_a_challenger_and_one_that_has_stayed_gets_the_next_after_the_same_span(
    world: World,
) -> None:
    world.reads(model("btc", 'max_age = "7d"'))
    world.publish("btc", NOON)
    scheduler = world.scheduler()
    world.ticks(scheduler, SECOND, 7 * DAY - 2 * SECOND)
    assert world.submitted == []
    world.ticks(scheduler, SECOND, SECOND, 6 * DAY)
    world.ticks(world.scheduler(), SECOND)
    assert world.submitted == [("btc", ("the champion was made on 2026-03-02 12:00 UTC (max_age 1w)",))]
    world.ticks(scheduler, DAY)
    assert len(world.submitted) == 2


def test_a_new_champion_is_young(world: World) -> None:
    world.reads(model("btc", 'max_age = "7d"'))
    world.publish("btc", NOON)
    scheduler = world.scheduler()
    world.ticks(scheduler, 6 * DAY)
    world.publish("btc", world.now)
    world.ticks(scheduler, 2 * DAY)
    assert world.submitted == []


# --- new rows ---------------------------------------------------------------------------------------------------------


def test_enough_new_rows_of_its_series_since_its_last_run_start_a_run(world: World) -> None:
    world.reads(model("btc", "new_rows = 5"))
    world.ran("btc", version=world.write(0, 10))
    scheduler = world.scheduler()
    world.write(10, 14)
    world.write(0, 50, series="ETH/USDT")
    world.ticks(scheduler, 6 * SECOND)
    assert world.submitted == []
    world.write(14, 15)
    world.ticks(scheduler, 6 * SECOND, 6 * SECOND)
    assert world.submitted == [("btc", ("5 new rows since the last run (new_rows 5)",))]


def test_rows_are_counted_from_the_firing_until_its_run_has_seen_them_and_then_from_the_run(world: World) -> None:
    world.reads(model("btc", "new_rows = 5"))
    world.ran("btc", version=world.write(0, 10))
    world.write(10, 15)
    world.ticks(world.scheduler(), 6 * SECOND)
    world.write(15, 18)
    scheduler = world.scheduler()  # another process: what was fired for is stored
    world.ticks(scheduler, 6 * SECOND)
    world.ran("btc", version=world.write(18, 20))  # the run took rows with it that came after the firing
    world.write(20, 24)
    world.ticks(scheduler, 6 * SECOND)
    assert len(world.submitted) == 1
    world.write(24, 25)
    world.ticks(scheduler, 6 * SECOND)
    assert len(world.submitted) == 2


def test_corrected_rows_are_not_new(world: World) -> None:
    world.reads(model("btc", "new_rows = 5"))
    world.ran("btc", version=world.write(0, 10))
    table = world.home.lake.table("candles")
    assert table.write(table.scan().collect().with_columns(y=2.0)).corrected == 10
    world.ticks(world.scheduler(), 6 * SECOND)
    assert world.submitted == []


def test_to_a_model_that_never_ran_every_row_is_new(world: World) -> None:
    world.reads(model("btc", "new_rows = 5"))
    scheduler = world.scheduler()
    world.ticks(scheduler, 6 * SECOND)  # there is no table yet
    world.write(0, 5)
    world.ticks(scheduler, 6 * SECOND, 6 * SECOND)
    assert len(world.submitted) == 1


def test_a_table_that_was_made_anew_is_counted_from_its_beginning(world: World) -> None:
    world.reads(model("btc", "new_rows = 5"))
    world.ran("btc", version=world.write(0, 10) + world.write(10, 20))
    shutil.rmtree(world.folder / "var" / "tables" / "candles")
    world.write(0, 6)
    world.ticks(world.scheduler(), 6 * SECOND)
    assert world.submitted == [("btc", ("6 new rows since the last run (new_rows 5)",))]


# --- requests, drift, all at once -------------------------------------------------------------------------------------


def test_a_message_said_ten_times_makes_one_run(world: World) -> None:
    world.reads(model("btc", ""))
    for _ in range(10):
        request(world.home.registry, "btc", "a message of stream trades", at=world.now)
    world.ticks(world.scheduler(), SECOND, SECOND)
    world.ticks(world.scheduler(), SECOND)
    assert world.submitted == [("btc", ("a message of stream trades",))]


def test_a_request_made_again_while_its_run_is_submitted_is_not_lost(world: World) -> None:
    world.reads(model("btc", ""))
    request(world.home.registry, "btc", "rows were corrected", at=world.now)
    scheduler = world.scheduler()
    scheduler._submit_run = lambda name, _: request(world.home.registry, name, "rows were corrected", at=NOON + MINUTE)
    world.ticks(scheduler, SECOND)
    world.ticks(world.scheduler(), SECOND)
    assert world.submitted == [("btc", ("rows were corrected",))]


def test_drift_starts_a_run_and_not_another_one_at_every_look(world: World) -> None:
    world.reads(model("btc", "drift = true") + model("eth", ""))
    world.drift = {"btc": ["psi of range 0.3", "loss up by 20 %"], "eth": ["not asked for"]}
    scheduler = world.scheduler()
    world.ticks(scheduler, SECOND, SECOND, HOUR)
    world.ticks(world.scheduler(), HOUR)
    assert world.submitted == [("btc", ("psi of range 0.3", "loss up by 20 %"))]
    world.ticks(scheduler, DAY)
    assert len(world.submitted) == 2


def test_all_reasons_of_a_model_at_once_make_one_run(world: World) -> None:
    world.reads(model("btc", 'cron = "0 * * * *"\nnew_rows = 5\nmax_age = "1d"\ndrift = { every = "10m" }'))
    world.publish("btc", NOON - DAY)
    scheduler = world.scheduler()
    world.ticks(scheduler, "11:59:59")
    world.write(0, 5)
    world.drift = {"btc": ["the inputs have moved"]}
    for number in range(6):
        request(world.home.registry, "btc", f"message {number}", at=world.now)
    world.now += 11 * MINUTE
    [report] = world.ticks(scheduler, SECOND)
    [(name, reasons)] = world.submitted
    assert (name, len(reasons)) == ("btc", 10)
    assert {reason.split()[0] for reason in reasons} == {"cron", "5", "the", "message"}
    assert dict(report.submitted) == {"btc": reasons}
    world.ticks(scheduler, SECOND)
    assert len(world.submitted) == 1


# --- when something fails ---------------------------------------------------------------------------------------------


def test_a_run_that_cannot_be_submitted_stays_due_and_holds_up_nobody(world: World) -> None:
    world.reads(model("btc", 'cron = "5 * * * *"') + model("eth", 'cron = "5 * * * *"'))
    scheduler = world.scheduler()
    world.ticks(scheduler, "12:00:00")

    def refuse(name: str, reasons: tuple[str, ...]) -> None:
        if name == "btc":
            raise NotReady("the database does not answer", where="database", do="wait")
        world.submitted.append((name, reasons))

    note, scheduler._submit_run = scheduler._submit_run, refuse
    [report] = world.ticks(scheduler, "12:05:00")
    assert [name for name, _ in world.submitted] == ["eth"]
    assert report.refused == {"btc": "the database does not answer (database): wait"}
    scheduler._submit_run = note
    world.ticks(scheduler, "12:05:01", "12:05:02")
    assert [name for name, _ in world.submitted] == ["eth", "btc"]


def fail(*_: object, **__: object) -> int:
    raise SourceUnavailable("no answer", where="spot", do="wait")


def test_a_database_that_goes_away_for_a_tick_costs_one_more_submission_and_nothing_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.reads(EXCHANGE + model("btc", 'cron = "5 * * * *"'))
    world.bring = fail
    scheduler = world.scheduler()
    world.ticks(scheduler, "12:00:00")
    with monkeypatch.context() as broken:
        broken.setattr(world.home.registry, "save_triggers", fail)
        with pytest.raises(SourceUnavailable):
            world.ticks(scheduler, "12:05:00")
    world.ticks(scheduler, SECOND, SECOND)
    world.ticks(world.scheduler(), SECOND)
    assert [name for name, _ in world.submitted] == ["btc", "btc"]
    assert [finding.kind for finding in world.found] == ["source_failed"]
    [state] = [one for one in world.home.registry.trigger_states() if one.kind == "source"]
    assert state.facts["failures"] == 2  # heard in the tick that could not be stored, and stored by the next


def test_a_finding_that_could_not_be_told_is_told_by_the_next_tick(world: World) -> None:
    world.reads(EXCHANGE)
    world.bring = fail
    scheduler = world.scheduler()
    tell, scheduler._announce = scheduler._announce, fail
    with pytest.raises(SourceUnavailable):
        world.ticks(scheduler, SECOND)
    scheduler._announce = tell
    world.ticks(scheduler, SECOND, SECOND)
    assert [finding.kind for finding in world.found] == ["source_failed"]


# --- sources ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("every", "times"),
    [
        ("", ["12:00:05", "13:00:05", "14:00:05"]),  # at once, and then just after each candle has closed
        ('every = "20m"', ["12:00:05", "12:20:05", "12:40:05", "13:00:05", "13:20:05", "13:40:05", "14:00:05"]),
        ('every = "2h"', ["12:00:05", "14:00:05"]),
        ('every = "off"', []),
    ],
)
def test_a_source_is_asked_a_few_seconds_after_each_candle_or_as_often_as_every_says(
    world: World, every: str, times: list[str]
) -> None:
    world.reads(EXCHANGE + every)
    reports = world.ticks(world.scheduler(), 5 * SECOND, *[30 * SECOND] * 240)
    assert [f"{report.at:%H:%M:%S}" for report in reports if report.asked] == times
    assert len(world.asked) == len(times)


def test_a_source_whose_candles_closed_while_nothing_ran_is_asked_at_once(world: World) -> None:
    world.reads(EXCHANGE)
    world.ticks(world.scheduler(), "12:30:00")
    world.ticks(world.scheduler(), "12:40:00")
    assert len(world.asked) == 1
    world.ticks(world.scheduler(), "13:30:00")
    assert len(world.asked) == 2


def test_a_clock_that_is_set_back_does_not_keep_a_source_waiting(world: World) -> None:
    world.reads(EXCHANGE)
    scheduler = world.scheduler()
    world.ticks(scheduler, "20:30:00", "12:30:00")
    world.ticks(scheduler, "13:00:05")
    assert len(world.asked) >= 2


def test_one_slow_exchange_keeps_no_other_source_and_no_run_waiting(world: World) -> None:
    slow = EXCHANGE.replace("spot", "slow") + 'silent_after = "10m"\n'
    world.reads(slow + EXCHANGE + model("btc", 'cron = "*/5 * * * *"'))
    answer, spot = threading.Event(), threading.Event()

    def bring(source: str) -> int:
        if source == "slow":
            assert answer.wait(30)
        else:
            spot.set()
        return 1

    world.bring = bring
    with ThreadPoolExecutor(2) as pool:
        scheduler = world.scheduler(asking=pool)
        world.ticks(scheduler, "12:00:01")
        assert spot.wait(30)
        world.ticks(scheduler, "12:05:00", "12:11:00")
        assert len(world.submitted) == 2
        assert world.asked.count("slow") == 1  # never twice at a time
        assert [finding.kind for finding in world.found] == ["source_silent"]  # it has not said a word
        answer.set()
    world.ticks(scheduler, "12:12:00")
    assert [finding.kind for finding in world.found] == ["source_silent", "source_speaks"]


def test_a_source_that_fails_is_told_of_once_and_asked_again_after_longer_and_longer_waits(world: World) -> None:
    world.reads(EXCHANGE + 'every = "1m"\nsilent_after = "off"\n')
    world.bring = fail
    scheduler = world.scheduler()
    times = [report.at - NOON for report in world.ticks(scheduler, *[10 * SECOND] * 100) if report.asked]
    waits = [(later - earlier) / SECOND for earlier, later in pairwise(times)]
    assert waits == [30, 60, 120, 240, 480]
    assert [finding.kind for finding in world.found] == ["source_failed"]
    assert "no answer (spot): wait" in world.found[0].what
    world.bring = lambda _: 1
    world.ticks(scheduler, HOUR)
    [state] = world.home.registry.trigger_states()
    assert (state.facts["failures"], state.facts["error"]) == (0, None)


def test_a_mistake_of_ours_in_one_source_is_logged_in_full_and_the_others_go_on(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.reads(EXCHANGE + EXCHANGE.replace("spot", "other"))
    world.bring = lambda source: 1 // (source != "spot")
    [report] = world.ticks(world.scheduler(), SECOND)
    assert report.brought == {"other": 1}
    assert "ZeroDivisionError" in world.found[0].what
    assert "Traceback" in caplog.text


def test_a_silent_source_is_told_of_once_and_once_again_when_it_speaks(world: World) -> None:
    world.reads(EXCHANGE)
    scheduler = world.scheduler()
    world.bring = lambda _: 1
    world.ticks(scheduler, "12:00:05")
    world.bring = lambda _: 0
    world.ticks(scheduler, *[HOUR] * 2)
    assert world.found == []
    world.ticks(scheduler, *[HOUR] * 5)
    world.ticks(world.scheduler(), HOUR)  # a new process does not tell it again
    assert [finding.what for finding in world.found] == [
        "spot has brought nothing since 2026-03-02 12:00 UTC (silent_after 3h)"
    ]
    world.bring = lambda _: 1
    world.ticks(world.scheduler(), HOUR, HOUR)
    assert [finding.kind for finding in world.found] == ["source_silent", "source_speaks"]
    assert len({finding.id for finding in world.found}) == 2


def test_a_source_whose_rows_a_run_has_just_brought_is_not_silent(world: World) -> None:
    world.reads(EXCHANGE + 'table = "candles"\n')
    scheduler = world.scheduler()
    for hour in range(8):
        world.write(hour - 1, hour)  # the candle that closes now, by a run that is quicker than we are
        world.ticks(scheduler, HOUR)
    assert world.found == []


def test_a_clock_that_jumps_ahead_makes_no_source_silent_that_has_something_to_say(world: World) -> None:
    world.reads(EXCHANGE)
    world.bring = lambda _: 1
    world.ticks(world.scheduler(), SECOND, 30 * DAY)
    assert world.found == []


# --- files that land --------------------------------------------------------------------------------------------------


@pytest.fixture
def landing(world: World) -> Path:
    folder = world.folder / "landing"
    folder.mkdir()
    world.reads('[sources.files]\nkind = "files"\npath = "landing"\n')
    return folder


def test_a_file_is_brought_in_once_it_has_stopped_growing(world: World, landing: Path) -> None:
    scheduler = world.scheduler()
    world.ticks(scheduler, *[5 * SECOND] * 3)
    for size in (10, 20, 30):
        (landing / "a.csv").write_text("x" * size)
        world.ticks(scheduler, 5 * SECOND)
    assert world.asked == []
    world.ticks(scheduler, *[5 * SECOND] * 3)
    assert world.asked == ["files"]
    (landing / "b.csv").write_text("y")
    world.ticks(scheduler, *[5 * SECOND] * 3)
    assert world.asked == ["files"] * 2


def test_files_that_were_brought_in_are_not_read_again_by_the_next_process(world: World, landing: Path) -> None:
    (landing / "a.csv").write_text("x")
    world.ticks(world.scheduler(), *[5 * SECOND] * 3)
    world.ticks(world.scheduler(), *[5 * SECOND] * 3)
    assert world.asked == ["files"]


def test_looks_at_a_quiet_folder_write_nothing(world: World, landing: Path) -> None:
    (landing / "a.csv").write_text("x")
    scheduler = world.scheduler()
    world.ticks(scheduler, *[5 * SECOND] * 3)
    before = world.home.registry.trigger_states()
    world.ticks(scheduler, *[5 * SECOND] * 10)
    assert world.home.registry.trigger_states() == before


def test_a_single_file_is_left_to_runs_unless_every_says_otherwise(world: World, landing: Path) -> None:
    (landing / "a.csv").write_text("x")
    world.reads('[sources.files]\nkind = "files"\npath = "landing/a.csv"\n')
    world.ticks(world.scheduler(), *[5 * SECOND] * 3)
    assert world.asked == []
    world.reads('[sources.files]\nkind = "files"\npath = "landing/a.csv"\nevery = "1m"\n')
    world.ticks(world.scheduler(), *[MINUTE] * 3)
    assert world.asked == ["files"]


def test_a_folder_that_is_not_there_is_told_of(world: World, landing: Path) -> None:
    landing.rmdir()
    world.ticks(world.scheduler(), *[5 * SECOND] * 3)
    assert [finding.kind for finding in world.found] == ["source_failed"]
    assert "no such file or folder" in world.found[0].what


def test_a_watched_folder_is_silent_only_where_silent_after_says_so(world: World, landing: Path) -> None:
    world.ticks(world.scheduler(), SECOND, 30 * DAY)
    assert world.found == []
    world.reads('[sources.files]\nkind = "files"\npath = "landing"\nsilent_after = "1d"\n')
    world.ticks(world.scheduler(), SECOND, 2 * DAY, 2 * DAY)
    assert [finding.kind for finding in world.found] == ["source_silent"]
