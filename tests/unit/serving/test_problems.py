"""Whatever goes wrong in the server, a client gets a problem it can act on and no stack trace."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from litestar.testing import TestClient
from tests.serving_world import make_world

from springtide.api.server import create_server
from springtide.app.answers import Answers

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    import pytest


def broken_clock() -> datetime:
    raise RuntimeError("the secret reason")


def test_an_unexpected_failure_is_logged_under_a_number_and_not_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world(tmp_path)
    world.promote(world.publish(0.0))
    answers = Answers(world.home, clock=broken_clock)
    answers.shelf.look()
    with (
        TestClient(create_server(lambda: answers), raise_server_exceptions=False) as client,
        caplog.at_level(logging.ERROR),
    ):
        response = client.get("/v1/models/btc/forecast")
        assert client.get("/healthz").status_code == 200
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "secret reason" not in response.text
    number = response.json()["do"].split()[2]
    [record] = [each for each in caplog.records if number in each.getMessage()]
    assert record.exc_info is not None
