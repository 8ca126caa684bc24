"""A process that brings in rows for months does not grow."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from tests.unit.cli.world import environment

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = """\
[sources.candles]
kind = "simulator"
speed = 3600
since = 2026-01-01T00:00:00Z
"""
PROGRAM = """\
from springtide.app.memory import keep_memory_together
keep_memory_together()
from datetime import UTC, datetime, timedelta
from pathlib import Path
import psutil
from springtide.app.home import open_home, read_settings
from springtide.app.ingestion import ingest

home = open_home(read_settings(Path("springtide.toml")))
for number in range(12):
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=10 * number)
    ingest(home, "candles", now=lambda: now, told=lambda *_: None)
    print(psutil.Process().memory_info().rss)
"""


def test_candles_that_come_again_and_again_take_no_more_memory(tmp_path: Path) -> None:
    (tmp_path / "springtide.toml").write_text(SETTINGS)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    used = [int(line) for line in done.stdout.split()]
    assert max(used[-4:]) - max(used[2:5]) < 30e6, used  # without it 80 MB and more
