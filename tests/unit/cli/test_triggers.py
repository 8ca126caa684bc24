from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from tests.unit.cli.world import SETTINGS, make_home, opened

from springtide.cli.main import main
from springtide.domain.trigger import TriggerState

if TYPE_CHECKING:
    from pathlib import Path

TRIGGERS = """
[models.btc.retrain]
cron = "30 3 * * *"
timezone = "Europe/Moscow"
new_rows = 24
max_age = "7d"
drift = true
[sources.spot]
kind = "exchange"
exchange = "binance"
symbols = ["BTC/USDT"]
timeframe = "1h"
[sources.old]
kind = "exchange"
exchange = "binance"
symbols = ["BTC/USDT"]
every = "off"
"""
MORNING = datetime(2026, 3, 2, 6, tzinfo=UTC)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(make_home(tmp_path / "home", SETTINGS + TRIGGERS, rows=1))
    return tmp_path / "home"


def test_every_trigger_is_listed_with_what_comes_next(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = TriggerState("btc", "cron", MORNING, {"schedule": "30 3 * * * Europe/Moscow", "fired": None})
    brought = {"since": MORNING.isoformat(), "brought": MORNING.isoformat()}
    silent = {"silent_since": MORNING.isoformat(), "failures": 2, "error": "no answer"}
    asked = TriggerState("spot", "source", MORNING + timedelta(hours=5), brought | silent)
    opened(home).registry.save_triggers([seen, asked])
    main(["triggers", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert [(one["kind"], one["setting"], one["seen"], one["next"]) for one in told["models"]] == [
        ("cron", "30 3 * * * Europe/Moscow", "2026-03-02T06:00:00Z", "2026-03-03T00:30:00Z"),
        ("new_rows", "24", None, "24 rows more than the last run"),
        ("max_age", "1w", None, "now"),
        ("drift", "on", None, "when there is drift"),
    ]
    candles, spot, old = told["sources"]
    assert (candles["every"], candles["silent_after"], candles["asked"]) == ("5s", "off", None)
    assert (spot["every"], spot["silent_after"], spot["silent"], spot["failures"]) == ("1h", "3h", True, 2)
    assert spot["brought"] == "2026-03-02T06:00:00Z"
    assert spot["next"] == "2026-03-02T11:01:00Z"  # after a wait of a minute, since it failed twice
    assert (old["every"], old["next"]) == ("off", None)
    main(["triggers"])
    table = capsys.readouterr().out
    assert "silent, failed 2 times: no answer" in table
    assert "2026-03-03 00:30" in table
