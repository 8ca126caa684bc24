"""What apprise sends has arrived; what it does not is said without its URL, and it logs nothing."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import apprise
import pytest
from pydantic import SecretStr
from tests.receiver import receiving

from springtide.domain.notice import Notice
from springtide.notify.chat import send

if TYPE_CHECKING:
    from springtide.domain.notice import Event

TOKEN = "hunter2-hunter2"


def notice(event: Event) -> Notice:
    return Notice("n1", event, "btc: version 3 serves now", "beats every rival", datetime(2026, 3, 1, tzinfo=UTC))


def url(port: int) -> SecretStr:
    return SecretStr(f"json://user:{TOKEN}@127.0.0.1:{port}/{TOKEN}")


def test_title_text_and_kind_arrive_through_apprise() -> None:
    with receiving() as receiver:
        answers = [send(notice(event), url(receiver.port)) for event in ("promoted", "kept", "failed", "drift")]
    assert [(answer.delivered, answer.words) for answer in answers] == [(True, "sent")] * 4
    told = [json.loads(body) for body in receiver.bodies]
    assert (told[0]["title"], told[0]["message"]) == ("btc: version 3 serves now", "beats every rival")
    assert [one["type"] for one in told] == ["success", "info", "failure", "warning"]


@pytest.mark.parametrize("status", [302, 500])
def test_what_the_service_refuses_has_not_arrived(status: int) -> None:
    with receiving(status) as receiver:
        answer = send(notice("failed"), url(receiver.port))
    assert (answer.delivered, answer.words) == (False, "not sent: failure")
    assert len(receiver.paths) == 1


def test_a_url_that_apprise_cannot_read_is_said_without_it() -> None:
    answer = send(notice("failed"), SecretStr(f"nosuchservice://{TOKEN}"))
    assert (answer.delivered, answer.words) == (False, "apprise cannot read this URL")


def test_an_error_of_a_plugin_is_a_failed_delivery_without_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(f"cannot reach {TOKEN}")

    monkeypatch.setattr(apprise.Apprise, "notify", broken)
    answer = send(notice("failed"), url(1))
    assert (answer.delivered, answer.words) == (False, "apprise failed: RuntimeError")


def test_nothing_is_logged_even_where_everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), receiving(500, 200) as receiver:
        for logger in ("apprise", "urllib3", "urllib3.connectionpool"):
            caplog.set_level(logging.DEBUG, logger=logger)
        for _ in range(2):
            send(notice("failed"), url(receiver.port))
    assert len(receiver.paths) == 2
    assert TOKEN not in caplog.text


def test_without_apprise_the_answer_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    answer = send(notice("failed"), url(1))
    assert not answer.delivered
    assert "springtide[notify]" in answer.words
