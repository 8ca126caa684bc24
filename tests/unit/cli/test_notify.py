"""``springtide notify`` says what has not arrived, and with --test which place answers what, without a secret."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.receiver import PRIVATE_WORDS, receiving

from springtide.app.home import open_home, read_settings
from springtide.app.notifying import announce, deliver
from springtide.cli.main import main
from springtide.domain.notice import Notice

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "hunter2-hunter2-hunter2"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "springtide.toml"


def said(file: Path, *args: str, capfd: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code: Any = 0
    try:
        main(["--config", str(file), "notify", *args])
    except SystemExit as left:
        code = left.code
    out, err = capfd.readouterr()
    assert SECRET not in out + err
    assert PRIVATE_WORDS not in out + err
    return code, out + err


def write(file: Path, *urls: str) -> None:
    hooks = (f'[[notify.webhooks]]\nurl = "{url}"\nsecret = "{SECRET}"\nallow_private = true\n' for url in urls)
    file.write_text("".join(hooks))


def test_a_test_says_what_each_place_answered(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with receiving(204) as good, receiving(500) as bad:
        write(file, f"{good.url}/{SECRET}")
        code, text = said(file, "--test", capfd=capfd)
        assert code == 0
        assert "answered 204" in text
        told = json.loads(good.bodies[0])
        assert told["event"] == "test"
        write(file, f"{good.url}/{SECRET}", f"{bad.url}/{SECRET}")
        code, text = said(file, "--test", "--json", capfd=capfd)
        assert code == 1
        assert json.loads(text) == [
            {"place": "webhooks.0", "delivered": True, "answer": "answered 204"},
            {"place": "webhooks.1", "delivered": False, "answer": "answered 500"},
        ]


def test_what_waits_is_listed_with_its_failure(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with receiving(500) as bad:
        write(file, f"{bad.url}/{SECRET}")
        home = open_home(read_settings(file, environ={}))
        moment = datetime(2026, 3, 1, 12, tzinfo=UTC)
        announce(home, Notice("n1", "kept", "btc was kept", "text", moment), now=lambda: moment)
        deliver(home, now=lambda: moment)
    _, table = said(file, capfd=capfd)
    assert all(
        words in table for words in ("btc was kept", "webhooks.0", "waiting", "answered 500", "2026-03-01 12:00")
    )
    _, text = said(file, "--json", capfd=capfd)
    (one,) = json.loads(text)
    assert (one["id"], one["state"], one["tries"], one["next_try"]) == ("n1", "waiting", 1, "2026-03-01T12:00:10Z")


def test_without_a_place_the_error_says_where_to_write_one(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file.touch()
    code, text = said(file, "--test", capfd=capfd)
    assert code == 1
    assert "[notify]" in text
