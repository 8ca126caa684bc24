"""A simulated source whose time runs faster."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from springtide.app.home import open_home, read_settings
from springtide.app.ingestion import ingest

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = """\
[sources.market]
kind = "simulator"
symbols = ["BTC/USDT"]
history = "30d"
speed = 3600
since = 2026-01-01T12:00:00Z
"""
SINCE = datetime(2026, 1, 1, 12, tzinfo=UTC)
BEGINNING = datetime(2024, 1, 31, tzinfo=UTC)  # thirty days after the market opened


def test_an_hour_of_candles_comes_each_second_after_the_history(tmp_path: Path) -> None:
    (tmp_path / "springtide.toml").write_text(SETTINGS)
    home = open_home(read_settings(tmp_path / "springtide.toml", environ={}))
    first = ingest(home, "market", now=lambda: SINCE, told=lambda *_: None)
    second = ingest(home, "market", now=lambda: SINCE + timedelta(seconds=5), told=lambda *_: None)
    newest = home.lake.table("market").facts()[0].last
    assert (first.new, second.new) == (30 * 24, 5)
    assert newest == BEGINNING + timedelta(hours=4)


def test_the_faster_time_ends_at_the_present(tmp_path: Path) -> None:
    (tmp_path / "springtide.toml").write_text(SETTINGS)
    home = open_home(read_settings(tmp_path / "springtide.toml", environ={}))
    now = SINCE + timedelta(days=30)
    ingest(home, "market", now=lambda: now, told=lambda *_: None)
    assert home.lake.table("market").facts()[0].last == now - timedelta(hours=1)
