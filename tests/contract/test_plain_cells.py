"""Where there is no sandbox: a table alone is trained in a plain process with limits, and nothing foreign is run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from tests.contract.test_jobs import SCRIPT, sales, work_off
from tests.environments import FOLDER, find_environment

from springtide.app import jobs
from springtide.app.home import Home, open_home, read_settings
from springtide.domain.errors import NotInstalled
from springtide.sandbox.environments import Environments
from springtide.sandbox.plain import Plain
from springtide.sandbox.seam import Cell, Ended, Limits

if TYPE_CHECKING:
    from pathlib import Path

MISSING = NotInstalled("no sandbox was found", where="this machine", do="install bubblewrap")
LIMITS = Limits(memory=500_000_000, cpus=1, processes=64, disk=20_000_000, seconds=20, output=100_000)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home on a machine without any sandbox."""
    find_environment("boosting", tmp_path)
    plain = Plain(Environments(FOLDER), MISSING)
    monkeypatch.setattr("springtide.app.job_steps.open_engine", lambda _settings: plain)
    (tmp_path / "springtide.toml").write_text("")
    return open_home(read_settings(tmp_path / "springtide.toml", environ={}))


def test_a_table_alone_is_trained_and_a_later_one_goes_on_from_what_came_of_it(home: Home) -> None:
    results, version = work_off(home, sales(0, 300), name="sales")
    assert version.verdict.promote
    assert results["export"]["parity"] < 1e-4
    later, _ = work_off(home, sales(0, 500), name="sales", judge=0.4)
    assert later["train"]["start"] == "sales@1"
    assert later["predict"]["champion"] == "judged"


@pytest.mark.parametrize("role", ["script", "model"])
def test_scripts_and_models_are_refused_with_what_to_install(home: Home, role: str) -> None:
    sent: dict[str, Any] = (
        {"script": SCRIPT} if role == "script" else {"model": jobs.Sent.of("m.joblib", b"\x80\x04N.")}
    )
    with pytest.raises(NotInstalled, match="no sandbox was found"):
        work_off(home, sales(0, 300), **sent)


def run(folder: Path, program: str, limits: Limits = LIMITS) -> tuple[Ended, list[str]]:
    find_environment("boosting", folder)
    work = folder / "work"
    work.mkdir()
    lines: list[str] = []
    cell = Cell("boosting", ("python", "-c", program), work, {})
    ended = Plain(Environments(FOLDER), MISSING).run(cell, limits, on_line=lines.append, stop=threading.Event())
    return ended, lines


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("bytearray(600_000_000)[::4096] = b'1' * 146485; import time; time.sleep(9)", "out of memory"),
        ("while True: print('x' * 1000)", "too much output"),
        ("import time\nfor n in range(99): open(f'{n}', 'wb').write(b'1' * 1_000_000); time.sleep(.05)", "disk full"),
        ("raise SystemExit(3)", "failed"),
    ],
)
def test_limits_hold(tmp_path: Path, program: str, reason: str) -> None:
    ended, _ = run(tmp_path, program)
    assert ended.reason == reason


def test_no_variable_of_ours_is_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPRINGTIDE_SECRET", "s3cr3t")
    _, lines = run(tmp_path, "import os; print(os.environ)")
    assert "s3cr3t" not in "".join(lines)


def test_it_dies_with_the_process_that_began_it(tmp_path: Path) -> None:
    find_environment("boosting", tmp_path)
    (tmp_path / "work").mkdir()
    program = f"""
import threading
from pathlib import Path
from tests.contract.test_plain_cells import FOLDER, LIMITS, MISSING, Cell, Environments, Plain
cell = Cell("boosting", ("python", "-c", "import os, time; print(os.getpid()); time.sleep(60)"), Path({str(tmp_path / "work")!r}), {{}})
Plain(Environments(FOLDER), MISSING).run(cell, LIMITS, on_line=lambda line: print(line, flush=True), stop=threading.Event())
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        cell = int(process.stdout.readline())
        assert psutil.pid_exists(cell)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    until = time.monotonic() + 5
    while psutil.pid_exists(cell) and time.monotonic() < until:
        time.sleep(0.05)
    assert not psutil.pid_exists(cell)
