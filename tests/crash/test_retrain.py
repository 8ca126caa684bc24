"""A run that is killed or stopped at any moment: nothing is lost, nothing is published twice, the next run succeeds."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import polars as pl
import pytest
from tests.unit.cli.world import COMMAND, ROWS, csv, environment, opened, said, trained_home

from springtide.domain.rows import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from springtide.app.home import Home
    from springtide.domain.run import Run

SOON_S = 60.0  # longer than any run here
BROUGHT = 20  # rows that come before each run
LONG = {"SPRINGTIDE_MODELS__BTC__MAX_STEPS": "100000", "SPRINGTIDE_MODELS__BTC__PATIENCE": "100000"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One version serves; the runs that are killed here follow each other."""
    return trained_home(tmp_path_factory)


def start(folder: Path, scratch: Path, **settings: str) -> subprocess.Popen[str]:
    """A run in the background, with `scratch` for its temporary files."""
    return subprocess.Popen(
        [COMMAND, "retrain", "btc", "--json"],
        cwd=folder,
        env=environment({"TMPDIR": str(scratch), **settings}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def watch(process: subprocess.Popen[str], home: Home) -> Iterator[Run | None]:
    """The newest record of the run that `process` made, again and again until the process ends."""
    before = home.registry.runs("btc", 1)[0].id
    deadline = time.monotonic() + SOON_S
    while process.poll() is None:
        assert time.monotonic() < deadline
        newest = home.registry.runs("btc", 1)[0]
        yield newest if newest.id != before else None
        time.sleep(0.005)


def wait_for_step(process: subprocess.Popen[str], home: Home, step: str) -> None:
    """Return as soon as the step has begun."""
    for run in watch(process, home):
        if run is not None and step in {one.name for one in run.steps}:
            return
    pytest.fail(f"the run ended before its step {step}: {process.communicate()[1]}")


def check(home: Home, scratch: Path) -> None:
    """What has to hold at every moment, whoever was killed."""
    registry = home.registry
    lines = registry.journal("btc")[::-1]
    assert [line.number for line in lines] == list(range(1, len(lines) + 1))
    assert [line.previous for line in lines] == [None, *(line.serving for line in lines[:-1])]
    champion = registry.champion("btc")
    assert champion is not None
    assert champion.number == lines[-1].serving
    for version in registry.versions("btc"):
        target = scratch / version.name
        target.mkdir()
        registry.fetch(version, target)  # compares every digest
        home.lake.table("candles").verify(version.manifest.snapshot)
    runs = [version.manifest.run for version in registry.versions("btc")]
    assert len(set(runs)) == len(runs)
    about = [(line.run, line.version) for line in lines]
    assert len(set(about)) == len(about)
    rows = home.lake.table("candles").scan().collect()
    assert rows.select(KEY).is_unique().all()
    assert not rows.select(pl.all().has_nulls()).transpose().to_series().any()


def seeded_moments(count: int) -> list[float]:
    random_ = random.Random(11)
    return [random_.uniform(0.5, 7.0) for _ in range(count)]


@pytest.mark.parametrize("moment", ["collect", "train", "export", "publish", *seeded_moments(2)])
def test_a_run_that_is_killed_leaves_champion_journal_and_rows_whole(
    folder: Path, tmp_path: Path, moment: str | float
) -> None:
    home = opened(folder)
    files = len(list((folder / "rows").iterdir()))
    first = ROWS + (files - 1) * BROUGHT
    (folder / "rows" / f"more-{files:02}.csv").write_text(csv(first, first + BROUGHT))
    with start(folder, tmp_path) as process:
        if isinstance(moment, str):
            wait_for_step(process, home, moment)
        else:
            time.sleep(moment)
        process.kill()
    check(home, tmp_path)


def test_the_run_after_all_those_kills_succeeds_with_every_row_once(folder: Path, tmp_path: Path) -> None:
    answer = said(folder, "retrain", "btc")
    home = opened(folder)
    check(home, tmp_path)
    run = home.registry.run(answer["run"])
    assert (run.state, run.version) == ("succeeded", answer["version"])
    rows = home.lake.table("candles").scan().collect().height
    assert rows == ROWS + (len(list((folder / "rows").iterdir())) - 1) * BROUGHT
    assert answer["steps"]["snapshot"]["rows"] == rows


def test_a_run_stopped_by_hand_says_so_and_leaves_nothing_behind(folder: Path, tmp_path: Path) -> None:
    home, scratch = opened(folder), tmp_path / "scratch"
    scratch.mkdir()
    before = home.registry.champions(), len(home.registry.versions("btc"))
    with start(folder, scratch, **LONG) as process:
        wait_for_step(process, home, "train")
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SOON_S)
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert "stopped" in err
    run = home.registry.runs("btc", 1)[0]
    assert (run.state, run.steps[-1].name, run.version) == ("cancelled", "train", None)
    assert run.finished is not None
    assert list(scratch.glob("springtide-*")) == []
    assert (home.registry.champions(), len(home.registry.versions("btc"))) == before
    check(home, tmp_path)
