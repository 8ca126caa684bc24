"""A notice goes to every place that wants it, again and again until it has arrived, and to none twice."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, text
from tests.ports import free_port
from tests.receiver import PRIVATE_WORDS, receiving
from tests.serving_world import verdict

from springtide.app import notifying
from springtide.app.hand_over import sealed
from springtide.app.home import Home, open_home, read_settings
from springtide.app.notifying import (
    MOST_TRIES,
    Silence,
    announce,
    deliver,
    forget_old_notices,
    of_run,
    try_places,
    undelivered,
)
from springtide.domain.errors import SettingsError
from springtide.domain.job import Job, JobParams
from springtide.domain.model import JournalEntry
from springtide.domain.notice import EVENTS, Notice
from springtide.domain.run import Failure, Run
from springtide.notify.answer import Answer
from springtide.registry.database import open_database, reading

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from springtide.settings.words import Webhook

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRET = "hunter2-hunter2-hunter2"
TOKEN = "token-of-the-path"
RUN = Run("r1", "btc", "succeeded", ("by hand",), NOON, finished=NOON + timedelta(minutes=1), version=3)
ENTRY = JournalEntry("btc", 5, NOON, "promote", 3, 2, 3, "r1", "gate", "beats every rival")


class Clock:
    """The time that a test says."""

    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> datetime:
        return self.time

    def wait(self, **span: float) -> None:
        self.time += timedelta(**span)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def hook(url: str, *, events: str = "", private: bool = True) -> str:
    allowed = "allow_private = true\n" if private else ""
    return f'[[notify.webhooks]]\nurl = "{url}/{TOKEN}"\nsecret = "{SECRET}"\n{allowed}{events}\n'


def home_with(folder: Path, section: str) -> Home:
    path = folder / "springtide.toml"
    path.write_text(section, encoding="utf-8")
    return open_home(read_settings(path, environ={}))


def notice(number: int = 1, **words: Any) -> Notice:
    plain = Notice(f"n{number}", "promoted", f"title {number}", "text", NOON + timedelta(seconds=number), model="btc")
    return replace(plain, **words)


def ids(bodies: list[bytes]) -> list[str]:
    return [json.loads(body)["id"] for body in bodies]


def test_a_notice_goes_once_to_every_place_that_wants_its_event(tmp_path: Path, clock: Clock) -> None:
    with receiving() as chat, receiving() as first, receiving() as second:
        section = f'[notify]\nurls = ["json://127.0.0.1:{chat.port}/{TOKEN}"]\nevents = ["promoted"]\n'
        section += hook(first.url) + hook(second.url, events='events = ["failed", "drift"]')
        home = home_with(tmp_path, section)
        assert [announce(home, notice(1), now=clock), announce(home, notice(2, event="failed"), now=clock)] == [2, 2]
        assert announce(home, notice(1), now=clock) == 2  # told again, by a step that was repeated
        assert deliver(home, now=clock) == 4
        clock.wait(days=1)
        assert announce(home, notice(1), now=clock) == 2  # and after it has arrived
        assert deliver(home, now=clock) == 0
        assert [json.loads(body)["title"] for body in chat.bodies] == ["title 1"]
        assert (ids(first.bodies), ids(second.bodies)) == (["n1", "n2"], ["n2"])


def test_a_place_that_answers_500_is_asked_again_after_waits_that_double(tmp_path: Path, clock: Clock) -> None:
    with receiving(500, 500, 500, 200) as receiver:
        home = home_with(tmp_path, hook(receiver.url))
        announce(home, notice(), now=clock)
        tried: list[float] = []
        for _ in range(100):
            before = len(receiver.paths)
            deliver(home, now=clock)
            if len(receiver.paths) > before:
                tried.append((clock.time - NOON).total_seconds())
            clock.wait(seconds=1)
        assert tried == [0, 10, 30, 70]
        assert undelivered(home) == []
        assert set(ids(receiver.bodies)) == {"n1"}
        assert {headers["Springtide-Id"] for headers in receiver.headers} == {"n1"}
        assert len({headers["Springtide-Signature"] for headers in receiver.headers}) == 4  # each try is signed anew
        assert len(set(receiver.bodies)) == 1


def test_what_could_not_be_sent_to_a_stopped_receiver_arrives_when_it_is_back(tmp_path: Path, clock: Clock) -> None:
    port = free_port()
    home = home_with(tmp_path, hook(f"http://127.0.0.1:{port}"))
    for number in (1, 2, 3):
        announce(home, notice(number), now=clock)
    assert deliver(home, now=clock) == 0
    waiting = undelivered(home)
    assert [one.tries for one in waiting] == [0, 0, 1]  # a silent place is asked once a call
    assert waiting[-1].failure == "no connection: Connection refused"
    with receiving(port=port) as receiver:
        assert deliver(home, now=clock) == 2
        clock.wait(seconds=10)
        assert deliver(home, now=clock) == 1
        assert ids(receiver.bodies) == ["n2", "n3", "n1"]


def test_notices_arrive_in_the_order_in_which_they_happened(tmp_path: Path, clock: Clock) -> None:
    with receiving() as receiver:
        home = home_with(tmp_path, hook(receiver.url))
        for number in (3, 1, 2):
            announce(home, notice(number), now=clock)
        deliver(home, now=clock)
        assert ids(receiver.bodies) == ["n1", "n2", "n3"]


def test_a_place_that_is_down_holds_up_no_other(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifying, "AT_ONCE", 2)
    with receiving() as receiver:
        home = home_with(tmp_path, hook(f"http://127.0.0.1:{free_port()}") + hook(receiver.url))
        for number in range(5):
            announce(home, notice(number), now=clock)
            clock.wait(seconds=0.001)
        assert [deliver(home, now=clock) for _ in range(4)] == [2, 2, 1, 0]


def test_after_33_tries_in_a_day_it_is_given_up_and_stays_listed(tmp_path: Path, clock: Clock) -> None:
    with receiving(500) as receiver:
        home = home_with(tmp_path, hook(receiver.url))
        announce(home, notice(), now=clock)
        while (one := undelivered(home)[0]).next_try is not None:
            clock.time = one.next_try
            deliver(home, now=clock)
        assert len(receiver.paths) == one.tries == MOST_TRIES == 33
        assert timedelta(hours=24) < clock.time - NOON < timedelta(hours=25)
        assert (one.state, one.failure, one.place) == ("given up", "answered 500", "webhooks.0")
        clock.wait(days=5)
        assert deliver(home, now=clock) == 0
        assert len(receiver.paths) == 33


def test_what_waits_for_a_place_never_goes_to_another_one_that_took_its_number(tmp_path: Path, clock: Clock) -> None:
    with receiving() as first, receiving() as second:
        before = home_with(tmp_path, hook(first.url))
        announce(before, notice(), now=clock)
        after = home_with(tmp_path, hook(second.url))
        assert deliver(after, now=clock) == 0
        assert undelivered(after)[0].failure == "section [notify] has no such place any more"
        assert undelivered(after)[0].place.startswith("webhook ")
        clock.wait(seconds=10)
        sorted_anew = home_with(tmp_path, hook(second.url) + hook(first.url))
        assert deliver(sorted_anew, now=clock) == 1
        assert (len(first.bodies), len(second.bodies)) == (1, 0)


def job(home: Home, number: int, url: str) -> Job:
    """A job whose sender wants to be told at that address."""
    settings = home.settings.jobs
    sent = Job(f"j{number}", sealed(settings, JobParams(target="y", webhook=url)), NOON)
    home.registry.submit_job(sent, Run(sent.id, sent.id, "queued", ("a job",), NOON, kind="job"), lambda _: None)
    return sent


def test_hundreds_of_silent_senders_of_jobs_hold_up_no_place(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    seconds = [0.0]

    def no_answer(_notice: Notice, hook: Webhook, *, now: Callable[[], datetime]) -> Answer:
        url = hook.url.get_secret_value()
        asked.append(url)
        if "owner" in url:
            return Answer(delivered=True, words="answered 204")
        seconds[0] += 5
        return Answer(delivered=False, words="no connection", silent=True)

    monkeypatch.setattr("springtide.notify.webhook.send", no_answer)
    section = f'[jobs]\nsecret = "{SECRET}"\nallow_private = true\n' + hook("http://owner.example")
    home = home_with(tmp_path, section)
    for number in range(200):
        one = job(home, number, f"http://host{number % 2 if number < 100 else number}.example/{number}")
        announce(home, notice(number, event="failed"), job=one, now=clock)
    silence, before = Silence(), len(asked)
    assert deliver(home, now=clock, silence=silence, clock=lambda: seconds[0]) == 20
    assert ["owner" in url for url in asked[before:]] == [True] * 20 + [False] * 2  # hosts, each asked once
    clock.wait(seconds=1)
    for _ in range(4):
        deliver(home, now=clock, silence=silence, clock=lambda: seconds[0])
    of_two_hosts = [url for url in asked if "host0." in url or "host1." in url]
    assert len(of_two_hosts) == 2
    seconds[0], before = 0.0, len(asked)
    deliver(home, now=clock, silence=silence, clock=lambda: seconds[0])
    assert seconds[0] <= 15  # a call does not take longer, however many hosts there are


def test_rows_go_after_a_month(tmp_path: Path, clock: Clock) -> None:
    with receiving() as receiver:
        home = home_with(tmp_path, hook(receiver.url))
        for number, days in ((1, 29), (2, 2), (3, 0)):
            announce(home, notice(number), now=clock)
            deliver(home, now=clock)
            clock.wait(days=days)
        forget_old_notices(home, now=clock)
        with reading(open_database(home.settings.home.database)) as connection:
            kept = connection.scalars(text("SELECT id FROM springtide_outbox ORDER BY id")).all()
        assert kept == ["n2", "n3"]


def test_nothing_to_deliver_costs_one_query(tmp_path: Path, clock: Clock) -> None:
    with receiving() as receiver:
        home = home_with(tmp_path, hook(receiver.url))
        announce(home, notice(), now=clock)
        deliver(home, now=clock)
        asked: list[str] = []
        engine = home.registry._engine
        event.listen(engine, "before_cursor_execute", lambda *words: asked.append(words[2]))
        assert deliver(home, now=clock) == 0
        assert [statement.split()[0] for statement in asked if "PRAGMA" not in statement] == ["BEGIN", "SELECT"]


def test_the_notice_of_a_run_says_what_its_journal_entry_says() -> None:
    promoted = of_run(RUN, ENTRY, verdict())
    assert (promoted.id, promoted.event, promoted.model, promoted.version) == ("r1-promoted", "promoted", "btc", 3)
    assert promoted.title == "btc: version 3 serves now"
    assert promoted.text == "beats every rival\nrun: r1"
    assert promoted.facts["previous"] == 2
    kept = of_run(RUN, replace(ENTRY, action="keep", serving=2, warning="few items"), verdict())
    assert (kept.id, kept.event) == ("r1-kept", "kept")
    assert kept.title == "btc: version 3 was not promoted, btc@2 goes on serving"
    assert "warning: few items" in kept.text
    overtaken = "beats every rival; but btc@4 was promoted meanwhile"
    assert of_run(RUN, replace(ENTRY, action="keep", serving=4, reason=overtaken), verdict()).text.startswith(overtaken)
    failure = Failure("disk full", "step train", "make room")
    failed = of_run(replace(RUN, state="failed", version=None, failure=failure))
    assert failed.title == "btc: a run failed"
    assert (failed.id, failed.event, failed.version) == ("r1-failed", "failed", None)
    assert failed.text == "disk full\nwhere: step train\ndo: make room\nrun: r1"
    late = of_run(replace(RUN, state="failed", failure=replace(failure, where="step deliver")))
    assert (late.event, late.version) == ("failed", 3)
    assert late.title == "btc: a run failed after it had made version 3"
    json.dumps([dict(one.facts) for one in (promoted, kept, failed)])
    with pytest.raises(ValueError, match="has not ended"):
        of_run(RUN)


def test_without_a_place_nothing_is_kept_and_a_test_says_so(tmp_path: Path, clock: Clock) -> None:
    home = home_with(tmp_path, "")
    assert announce(home, notice(), now=clock) == 0
    assert (deliver(home, now=clock), undelivered(home)) == (0, [])
    with pytest.raises(SettingsError, match="no place is set"):
        try_places(home, now=clock)


def test_no_secret_is_in_any_file_log_or_answer(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with receiving(500) as receiver:
        dead = free_port()
        section = f'[notify]\nurls = ["json://u:{SECRET}@127.0.0.1:{receiver.port}/{TOKEN}", "nosuch://{TOKEN}"]\n'
        section += hook(receiver.url) + hook(f"http://127.0.0.1:{dead}") + hook("http://127.0.0.1:9", private=False)
        home = home_with(tmp_path, section)
        said = [repr(home), repr(home.settings), home.settings.model_dump_json(), repr(try_places(home, now=clock))]
        for moment in EVENTS:
            announce(home, notice(1, id=moment, event=moment), now=clock)
        for _ in range(8):
            deliver(home, now=clock)
            clock.wait(seconds=30)
        said += [repr(undelivered(home)), repr(home.registry.notices()), caplog.text, *capfd.readouterr()]
    assert len(undelivered(home)) == 5 * len(EVENTS)
    (tmp_path / "springtide.toml").unlink()
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"promoted" in kept
    for hidden in (SECRET, TOKEN, PRIVATE_WORDS):
        assert hidden not in "\n".join(said)
        assert hidden.encode() not in kept
