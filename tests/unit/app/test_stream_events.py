"""Events leave the outbox in order and at least once, and none is lost while the broker is away."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from tests.serving_world import verdict

from springtide.app.home import Home, open_home, read_settings
from springtide.app.notifying import announce, deliver, of_run, undelivered
from springtide.app.streams.events import publish_events
from springtide.domain.job import Job, JobParams
from springtide.domain.model import JournalEntry
from springtide.domain.notice import Notice
from springtide.domain.run import Failure, Run
from springtide.streams.messages import EventMessage, decode

if TYPE_CHECKING:
    from pathlib import Path

    from springtide.streams.consuming import Take

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BROKER = '[streams]\nurl = "kafka://127.0.0.1:1"\nlink = "https://springtide.example/"\n'


class Topic:
    """A broker that keeps what is published, and is away for the first so many tries."""

    def __init__(self, away: int = 0) -> None:
        self.away = away
        self.events: list[EventMessage] = []
        self.keys: list[str] = []

    def read(self, topic: str, take: Take) -> None:
        raise NotImplementedError

    async def start(self) -> None: ...

    async def run(self) -> None: ...

    async def stop(self) -> None: ...

    async def publish(self, topic: str, body: bytes, *, key: str, message_id: str) -> None:
        if self.away:
            self.away -= 1
            raise ConnectionError("away")
        event = decode(body, EventMessage)
        assert (topic, message_id) == ("springtide.events", event.id)
        self.events.append(event)
        self.keys.append(key)


def home_with(folder: Path, text: str = BROKER) -> Home:
    (folder / "springtide.toml").write_text(text)
    return open_home(read_settings(folder / "springtide.toml", environ={}))


def publish(home: Home, topic: Topic) -> int:
    return asyncio.run(publish_events(home, topic, "springtide.events"))


def notice(number: int) -> Notice:
    return Notice(f"n{number}", "kept", f"title {number}", "text", NOON + timedelta(seconds=number), model="btc")


def run_of(home: Home, name: str = "r1") -> Run:
    """A run from its queue to its failure."""
    registry = home.registry
    run = registry.submit_run(Run(name, "btc", "queued", ("by hand",), NOON), lambda _connection: None)
    registry.add_event(run.id, "state", {"state": "running"}, NOON + timedelta(seconds=1))
    registry.add_event(run.id, "progress", {"loss": 1.0}, NOON + timedelta(seconds=2))
    failure = Failure("too few rows", "table t", "bring more")
    end = NOON + timedelta(seconds=3)
    return registry.end_run(run.id, lambda found: failed(found, failure, end))


def failed(run: Run, failure: Failure, end: datetime) -> Run:
    return Run(run.id, run.model, "failed", run.reasons, run.started, finished=end, failure=failure)


def test_every_state_of_a_run_and_what_came_of_it_are_told_in_order_with_links(tmp_path: Path) -> None:
    home, topic = home_with(tmp_path), Topic()
    announce(home, of_run(run_of(home)))
    assert publish(home, topic) == 4
    assert [(one.event, one.facts.get("state")) for one in topic.events] == [
        ("state", "queued"),
        ("state", "running"),
        ("state", "failed"),
        ("failed", None),
    ]
    assert len({one.id for one in topic.events}) == 4
    assert set(topic.keys) == {"btc"}
    assert topic.events[-1].links == {
        "model": "https://springtide.example/v1/models/btc",
        "run": "https://springtide.example/v1/runs/r1",
    }


def test_the_events_of_a_job_link_to_the_job_and_to_the_model_it_has_made(tmp_path: Path) -> None:
    home, topic = home_with(tmp_path), Topic()
    run = Run("j1", "shop", "queued", ("a job",), NOON, kind="job")
    home.registry.submit_job(Job("j1", JobParams(target="y"), NOON), run, lambda _connection: None)
    entry = JournalEntry("shop", 5, NOON, "promote", 3, 2, 3, "j1", "gate", "beats every rival")
    announce(home, of_run(replace(run, state="succeeded", version=3), entry, verdict()))
    publish(home, topic)
    base = "https://springtide.example/v1"
    assert topic.events[0].links == {"job": f"{base}/jobs/j1", "run": f"{base}/runs/j1"}
    assert topic.events[-1].links["model"] == f"{base}/jobs/j1/model"


@pytest.mark.parametrize(("key", "message"), [("stream/shop/1", "shop/1"), ("shop-1", None), (None, None)])
def test_the_events_of_a_job_that_came_as_a_message_carry_its_id(
    tmp_path: Path, key: str | None, message: str | None
) -> None:
    home, topic = home_with(tmp_path), Topic()
    run = Run("j1", "shop", "queued", ("a job",), NOON, kind="job")
    home.registry.submit_job(Job("j1", JobParams(target="y"), NOON, key=key), run, lambda _connection: None)
    publish(home, topic)
    assert [one.facts.get("message") for one in topic.events] == [message]


def test_a_promotion_says_which_version_serves(tmp_path: Path) -> None:
    home, topic = home_with(tmp_path), Topic()
    entry = JournalEntry("btc", 5, NOON, "promote", 3, 2, 3, "r1", "gate", "beats every rival")
    announce(home, of_run(Run("r1", "btc", "succeeded", ("by hand",), NOON, version=3), entry, verdict()))
    publish(home, topic)
    assert [(one.event, one.model_version) for one in topic.events] == [("promoted", 3)]


def test_while_the_broker_is_away_events_wait_and_then_come_in_their_order(tmp_path: Path) -> None:
    home, topic = home_with(tmp_path), Topic(away=50)
    for number in range(3):
        announce(home, notice(number))
    for _ in range(50):  # far more often than a notice to people is tried
        with pytest.raises(ConnectionError):
            publish(home, topic)
    assert publish(home, topic) == 3
    assert [one.id for one in topic.events] == ["n0", "n1", "n2"]
    assert undelivered(home) == []


def test_events_come_in_the_order_in_which_they_were_written_whatever_the_clocks_and_names_say(tmp_path: Path) -> None:
    home, topic = home_with(tmp_path), Topic()
    for number in (9, 10, 11):
        announce(home, replace(notice(number), at=NOON, id=f"r1-{number}"), now=lambda: NOON)
    announce(home, replace(notice(12), at=NOON - timedelta(minutes=5)), now=lambda: NOON + timedelta(days=9999))
    announce(home, replace(notice(13), at=NOON - timedelta(minutes=9)), now=lambda: NOON - timedelta(minutes=9))
    publish(home, topic)
    assert [one.id for one in topic.events] == ["r1-9", "r1-10", "r1-11", "n12", "n13"]


def test_a_process_that_has_lost_the_duty_publishes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("springtide.app.streams.events.AT_ONCE", 2)
    home, topic, answers = home_with(tmp_path), Topic(), [False, True, True]
    for number in range(6):
        announce(home, notice(number))
    assert asyncio.run(publish_events(home, topic, "springtide.events", mine=answers.pop)) == 4
    assert publish(home, topic) == 2


def test_what_the_broker_has_is_not_sent_again(tmp_path: Path) -> None:
    home, topic = home_with(tmp_path), Topic()
    announce(home, notice(1))
    publish(home, topic)
    announce(home, notice(1))  # told again, by a step that was repeated
    assert publish(home, topic) == 0


def test_the_delivery_to_people_leaves_the_events_of_the_stream_alone(tmp_path: Path) -> None:
    home = home_with(tmp_path)
    announce(home, notice(1))
    assert deliver(home) == 0
    assert publish(home, Topic()) == 1


def test_without_a_broker_nothing_waits_for_one(tmp_path: Path) -> None:
    home = home_with(tmp_path, "")
    assert announce(home, of_run(run_of(home))) == 0
    assert home.registry.notices() == []
