"""A folder with springtide.toml and rows, and the real command run in it."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from springtide.app.home import Home, open_home, read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

COMMAND = str(Path(sys.executable).with_name("springtide"))
START = datetime(2024, 1, 1, tzinfo=UTC)
ROWS = 1500
HEADER = "ds,open,high,low,close,volume"

# A window, a network and a budget so small that a run takes seconds, most of them for importing torch and for the export.
SETTINGS = """\
[home]
store = "./var"
database = "sqlite:///var/springtide.db"

[sources.candles]
kind = "files"
path = "./rows"
series = "BTC/USDT"

[models.btc]
task = "forecast"
table = "candles"
window = 24
horizon = 4
budget = "20s"
max_steps = 20
validation = "5d"
[models.btc.gate]
judge = "10d"
baselines = ["last-value"]
first = "always"
"""


def candle(hour: int, *, close: float | None = None) -> str:
    """One line of a CSV file: waves of two lengths, so that no price is constant and none is below zero."""
    start, end = (100 + 10 * math.sin(h / 40) + math.sin(h * h % 17) for h in (hour - 1, hour))
    end = end if close is None else close
    moment = START + timedelta(hours=hour)
    return f"{moment:%Y-%m-%d %H:%M:%S},{start:.4f},{max(start, end) + 0.2:.4f},{min(start, end) - 0.2:.4f},{end:.4f},5"


def csv(first: int = 0, last: int = ROWS) -> str:
    """Candles of these hours as a CSV file."""
    return "\n".join([HEADER, *(candle(hour) for hour in range(first, last))]) + "\n"


def make_home(folder: Path, settings: str = SETTINGS, *, rows: int = ROWS) -> Path:
    """A folder with settings, and a source with one file."""
    (folder / "rows").mkdir(parents=True)
    (folder / "rows" / "first.csv").write_text(csv(0, rows))
    (folder / "springtide.toml").write_text(settings)
    return folder


def opened(folder: Path) -> Home:
    """What the command would open in `folder`; read_settings takes nothing from the environment."""
    places = {"SPRINGTIDE_HOME__STORE": str(folder / "var")}
    places["SPRINGTIDE_HOME__DATABASE"] = f"sqlite:///{folder}/var/springtide.db"
    return open_home(read_settings(folder / "springtide.toml", environ=places))


def environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment with no settings of Springtide but the given ones, and one thread for torch.

    With more, a training of milliseconds takes seconds whenever another process has a core: they wait for each other.
    """
    plain = {name: value for name, value in os.environ.items() if not name.startswith("SPRINGTIDE_")}
    return plain | {"OMP_NUM_THREADS": "1"} | dict(settings or {})


def springtide(
    folder: Path, *words: str | Path, settings: Mapping[str, str] | None = None, code: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run the command in `folder` and check that it exits with `code`."""
    done = subprocess.run(
        [COMMAND, *map(str, words)],
        cwd=folder,
        env=environment(settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code, f"{words} exited with {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done


def said(folder: Path, *words: str | Path, settings: Mapping[str, str] | None = None) -> Any:
    """What the command prints with --json."""
    return json.loads(springtide(folder, *words, "--json", settings=settings).stdout)


def refused(folder: Path, *words: str | Path, settings: Mapping[str, str] | None = None) -> str:
    """What the command says on the error stream when it refuses: what, where and what to do, and nothing else."""
    done = springtide(folder, *words, settings=settings, code=1)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert [line.split(":")[0] for line in lines[-2:]] == ["  where", "  do"], done.stderr
    return done.stderr


def trained_home(factory: pytest.TempPathFactory) -> Path:
    """A copy of a home with rows and one served version; the training happens once a session."""
    original = factory.getbasetemp() / "trained"
    if not original.exists():
        make_home(original)
        springtide(original, "ingest")
        answer = springtide(original, "retrain", "btc", "--json")
        (original / "retrain.json").write_text(answer.stdout)
        (original / "retrain.err").write_text(answer.stderr)
    return Path(shutil.copytree(original, factory.mktemp("home") / "home"))
