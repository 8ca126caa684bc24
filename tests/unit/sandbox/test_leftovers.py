"""What killed processes leave is found by its name and cleared away, and nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from springtide.domain.process import this_process
from springtide.sandbox.finding import sweep
from springtide.sandbox.leftovers import owned_folder, sweep_folders

HOLDER = """
import sys
from springtide.sandbox.leftovers import owned_folder
with owned_folder() as folder:
    (folder / "deep").mkdir()
    (folder / "deep" / "model").write_text("x")
    print(folder, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary folders of this test alone."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def left_by_a_killed_process() -> Path:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        folder = Path(holder.stdout.readline().strip())
        sweep_folders()
        assert folder.is_dir()  # it lives
        holder.kill()
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # it has ended, though nobody has buried it yet
        assert folder.is_dir()
        return folder


def test_a_folder_of_a_process_that_was_killed_is_swept_and_none_of_one_that_lives() -> None:
    folder = left_by_a_killed_process()
    with owned_folder() as mine:
        sweep_folders()
        assert not folder.exists()
        assert mine.is_dir()
    assert not mine.exists()


def test_a_sweep_without_engines_clears_folders_away(place: Path) -> None:
    folder = left_by_a_killed_process()
    sweep("auto", environments=place / "environments", environ={"DOCKER_HOST": "unix:///nowhere/docker.sock"})
    assert not folder.exists()


def test_of_processes_of_other_hosts_nothing_is_known(place: Path) -> None:
    (place / "springtide-1-1-another-host-abcdefgh").mkdir()
    sweep_folders()
    assert (place / "springtide-1-1-another-host-abcdefgh").is_dir()


def test_a_folder_of_an_earlier_process_with_the_number_of_one_that_lives_is_swept(place: Path) -> None:
    host, pid, born = this_process().split(":")
    (place / f"springtide-{pid}-{int(born) - 1}-{host}-abcdefgh").mkdir()
    sweep_folders()
    assert list(place.iterdir()) == []


def test_a_link_that_bears_the_name_of_a_folder_leads_nowhere(place: Path) -> None:
    kept = place / "kept"
    kept.mkdir()
    host = this_process().split(":")[0]
    (place / f"springtide-1-1-{host}-abcdefgh").symlink_to(kept)
    sweep_folders()
    assert kept.is_dir()


def test_a_folder_that_is_still_written_to_is_swept_when_that_has_ended(place: Path) -> None:
    folder = left_by_a_killed_process()
    writing = 'n=0; while :; do n=$((n+1)); mkdir -p "$0/d" && : > "$0/d/$n"; done 2>/dev/null'
    with subprocess.Popen(["timeout", "--signal=KILL", "0.7", "sh", "-c", writing, str(folder)]) as writer:
        sweep_folders()
        writer.send_signal(signal.SIGTERM)
    sweep_folders()
    assert not folder.exists()
