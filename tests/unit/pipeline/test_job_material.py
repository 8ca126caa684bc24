"""What a job may go on from, and which of its cells hold the rows that judge."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.serving_world import verdict

from springtide.app.home import Home, open_home, read_settings
from springtide.domain.job import Job, JobParams
from springtide.domain.model import Manifest, Version
from springtide.domain.rows import Filter, Snapshot
from springtide.pipeline.jobs.material import Material
from springtide.registry.run_files import RunFilesOf

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LAST = NOON - timedelta(days=30)  # that the champion has learned from


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "springtide.toml").write_text("")
    return open_home(read_settings(tmp_path / "springtide.toml", environ={}))


def rows() -> bytes:
    """Days with what was sold on each, and when it was paid for."""
    days = [NOON + timedelta(days=number - 100) for number in range(100)]
    lines = [f"{day:%Y-%m-%d},{day + timedelta(days=40):%Y-%m-%d},{number % 7}" for number, day in enumerate(days)]
    return "\n".join(["day,paid,sold", *lines]).encode()


def material(home: Home, folder: Path, *, model: bytes | None = None, **asked: Any) -> Material:
    """A job that was sent."""
    files = {"data": "sales.csv"} | ({} if model is None else {"model": "model.zip"})
    for name, content in {"data": rows(), "model": model}.items():
        if content is not None:
            home.run_files.put("j1", name, io.BytesIO(content))
    job = Job("j1", JobParams(target="sold", name="sales", **asked), NOON, files)
    return Material(job, home.registry, RunFilesOf(home.run_files, "j1"), folder, {})


def promote(home: Home, folder: Path, *, time: str | None, trained_until: datetime | None) -> Version:
    """A champion that reads nothing."""
    snapshot = Snapshot("sent: sales.csv", 0, Filter(), 100, "0" * 64, LAST, LAST)
    recipe = {"columns": [], "framework": "lightgbm", "format": "lightgbm", "model": "model.txt", "time": time}
    manifest = Manifest("sales", "table", "j0", NOON, "code", snapshot, recipe, {}, {}, trained_until=trained_until)
    folder.mkdir()
    (folder / "model.txt").write_text("tree")
    version = home.registry.publish(manifest, folder, verdict())
    home.registry.promote("sales", 1, run="j0", by="gate", reason="won", at=NOON, warning=None, expected=None)
    return version


@pytest.mark.parametrize(
    ("made", "until", "asked", "known"),
    [
        ("day", LAST, "day", True),
        (None, None, "day", False),
        ("day", LAST, None, False),
        ("day", LAST, "paid", False),
    ],
    ids=["one clock", "made without times", "sent without times", "another column"],
)
def test_only_by_one_clock_is_it_known_what_a_champion_has_seen(
    home: Home, tmp_path: Path, made: str | None, until: datetime | None, asked: str | None, known: bool
) -> None:
    promote(home, tmp_path / "made", time=made, trained_until=until)
    at_hand = material(home, tmp_path, time=asked, judge=0.5)
    assert at_hand.champion_may_know is not known
    assert at_hand.starts_from_champion is known
    assert at_hand.parts.judging.height == (29 if known else 50)


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return file.getvalue()


@pytest.mark.parametrize(
    ("model", "ours"),
    [
        (None, True),
        (b"tree\nversion=v4\n", True),
        (zipped("saved_model.pb"), False),
        (zipped("preprocessing.json", "model.txt"), False),
        (b"\x80\x04.", False),
    ],
    ids=["none", "trees", "a SavedModel", "a bundle", "a pickle"],
)
def test_rows_that_judge_are_not_in_a_cell_where_something_of_others_acts(
    home: Home, tmp_path: Path, model: bytes | None, ours: bool
) -> None:
    assert material(home, tmp_path, model=model).is_ours is ours


@pytest.mark.parametrize(
    ("script", "asked", "environment"),
    [
        ("import keras\n", None, "tensorflow"),
        ("    from tensorflow import keras\n", None, "tensorflow"),
        ("import numpy as np\nfrom torch import nn\n", None, "pytorch"),
        ("# import torch\nimport lightgbm\n", None, "boosting"),
        ("import torchlike\n", None, "boosting"),
        ("import keras\n", "pytorch", "pytorch"),
    ],
)
def test_a_script_runs_where_what_it_imports_is_unless_it_is_said_where(
    home: Home, tmp_path: Path, script: str, asked: str | None, environment: str
) -> None:
    made = material(home, tmp_path, framework=asked)
    home.run_files.put("j1", "script", io.BytesIO(script.encode()))
    job = replace(made.job, files={**made.job.files, "script": "train.py"})
    assert replace(made, job=job).environment == environment
