"""What people and machines do to it: every refusal names the thing and the way out, and no row or version is lost."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.cli.world import (
    COMMAND,
    HEADER,
    SETTINGS,
    START,
    candle,
    csv,
    environment,
    make_home,
    opened,
    refused,
    said,
    springtide,
    trained_home,
)

from springtide.domain.rows import KEY
from springtide.sources.simulator.market import Market
from springtide.sources.simulator.server import simulated_exchange

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import polars as pl

KNOWN = 100  # hours that the table holds before anything goes wrong
BATCH = 20  # rows of one file
MANY = 20_000  # rows that do not fit on a small disk


# On a small disk: a copy of a home, 200 kB left; a command; then space again, and more commands, parted by lines of ----.
SMALL_DISK = """
mount -t tmpfs -o size=4m tmpfs "$2" || exit 77
cp -r "$1"/. "$2" && cd "$2"
cat /dev/zero > filler 2>/dev/null
truncate -s -200k filler
"$0" $3
echo $?
rm filler
for words in "$4" "$5"; do echo ----; "$0" $words --json; done
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred hours are known; everything else is refused."""
    folder = make_home(tmp_path_factory.mktemp("bad"), rows=KNOWN)
    springtide(folder, "ingest")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One version serves."""
    return trained_home(tmp_path_factory)


def rows_of(folder: Path) -> pl.DataFrame:
    return opened(folder).lake.table("candles").scan().collect().sort(KEY)


def version_of(folder: Path) -> int:
    return opened(folder).lake.table("candles").version()


def bring(folder: Path, file: Path) -> str:
    """The refusal of a file that is brought into the known table; the table must stay as it was."""
    before, version = rows_of(folder), version_of(folder)
    said_ = refused(folder, "ingest", "--file", file, "--table", "candles", "--series", "BTC/USDT")
    assert rows_of(folder).equals(before)
    assert version_of(folder) == version
    return said_


def lines(*changed: str) -> str:
    """Three good rows after the known ones, then the changed ones."""
    return "\n".join([HEADER, *(candle(KNOWN + hour) for hour in range(3)), *changed]) + "\n"


BAD_FILES = {
    "a text in a price": (lines("2024-01-05 07:00:00,100,101,99,cheap,5"), ["cheap", "line 5"]),
    "a negative price": (lines("2024-01-05 07:00:00,100,101,99,-1,5"), ["line 5"]),
    "a price that is no number": (lines("2024-01-05 07:00:00,100,101,99,NaN,5"), ["line 5"]),
    "a high below the low": (lines("2024-01-05 07:00:00,100,98,99,98.5,5"), ["high", "low", "line 5"]),
    "one time twice with different values": (
        lines("2024-01-05 06:00:00,100,101,99,100.5,5"),
        ["two rows for BTC/USDT at 2024-01-05 06:00", "4 and 5"],
    ),
    "two timeframes in one file": (
        lines("2024-01-05 06:05:00,100,101,99,100,5", "2024-01-05 06:10:00,100,101,99,100,5"),
        ["mixed timeframes"],
    ),
    "a time that is none": (lines("yesterday,100,101,99,100,5"), ["yesterday", "line 5"]),
    "a header and nothing else": (HEADER + "\n", ["no rows"]),
    "nothing at all": ("", ["empty"]),
    "a column that is missing": ("ds,open,high,low\n2024-01-05 07:00:00,1,1,1\n", ["close"]),
    "a finer timeframe than the table's": (
        f"{HEADER}\n2024-02-01 00:00,100,101,99,100,5\n2024-02-01 00:05,100,101,99,100,5\n",
        ["mixed timeframes", "the step is 1h", "5m"],
    ),
    "other columns than the table's": ("ds,y\n2024-01-05 07:00:00,1\n2024-01-05 08:00:00,2\n", ["candles"]),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_a_file_is_refused_as_a_whole_and_the_table_stays_as_it_was(what: str, home: Path, tmp_path: Path) -> None:
    text, words = BAD_FILES[what]
    file = tmp_path / "rows.csv"
    file.write_text(text)
    answer = bring(home, file)
    assert all(word in answer for word in [*words, "rows.csv" if "table's" not in what else "where"]), answer


def test_a_truncated_parquet_file_is_refused(home: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.parquet"
    rows_of(home).write_parquet(whole)
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(whole.read_bytes()[:-200])
    assert "broken.parquet" in bring(home, broken)


def test_a_file_that_is_not_there_is_refused(home: Path, tmp_path: Path) -> None:
    assert "nowhere.csv" in bring(home, tmp_path / "nowhere.csv")


def test_rows_in_any_order_and_any_time_zone_become_sorted_utc(tmp_path: Path) -> None:
    make_home(tmp_path, rows=KNOWN)
    east = timedelta(hours=5, minutes=30)
    mixed = [candle(hour).split(",", 1) for hour in (7, 3, 0, 5, 1, 6, 2, 4)]
    local = [f"{datetime.fromisoformat(moment) + east}+05:30,{rest}" for moment, rest in mixed]
    (tmp_path / "east.csv").write_text("\n".join([HEADER, *local]) + "\n")
    (brought,) = said(tmp_path, "ingest", "--file", "east.csv", "--table", "candles", "--series", "BTC/USDT")
    assert brought["new"] == 8
    (again,) = said(tmp_path, "ingest")  # the same hours as the source's own file has them, in UTC
    assert (again["new"], again["corrected"], again["unchanged"]) == (KNOWN - 8, 0, 8)
    assert rows_of(tmp_path)["ds"].to_list() == [START + timedelta(hours=hour) for hour in range(KNOWN)]


# Settings


@pytest.mark.parametrize(
    ("wrong", "right", "words"),
    [
        ("horizn = 4", "horizon = 4", ["'horizn'", "did you mean 'horizon'?"]),
        ("horizon = 0", "horizon = 4", ["models.btc.horizon", "change the value 0"]),
        ('kind = "flies"', 'kind = "files"', ["sources.candles", "files"]),
        ('task = "forcast"', 'task = "forecast"', ["did you mean 'forecast'?"]),
        ("[models.btc.gates]", "[models.btc.gate]", ["did you mean 'gate'"]),
        ('budget = "20 parsecs"', 'budget = "20s"', ["20 parsecs", "30s, 5m, 1h"]),
        ("window = = 24", "window = 24", ["not valid TOML"]),
    ],
)
def test_a_wrong_setting_is_refused_with_its_line(wrong: str, right: str, words: list[str], tmp_path: Path) -> None:
    assert right in SETTINGS
    (tmp_path / "springtide.toml").write_text(SETTINGS.replace(right, wrong))
    answer = refused(tmp_path, "ingest")
    line = SETTINGS[: SETTINGS.index(right)].count("\n") + 1
    assert all(word in answer for word in words), answer
    assert any(f"line {near}" in answer for near in (line - 1, line)), answer  # of the key or of its section
    assert not (tmp_path / "var").exists()


def test_a_wrong_variable_is_refused_like_a_wrong_key(home: Path) -> None:
    answer = refused(home, "tables", settings={"SPRINGTIDE_MODELS__BTC__HORIZN": "3"})
    assert "did you mean 'horizon'?" in answer


def test_a_place_that_cannot_be_made_is_refused_by_name(home: Path) -> None:
    answer = refused(home, "tables", settings={"SPRINGTIDE_HOME__STORE": "/dev/null/var"})
    assert "/dev/null/var" in answer


def test_an_unknown_exchange_is_refused_with_a_hint(tmp_path: Path) -> None:
    make_exchange(tmp_path, exchange="binanse")
    answer = refused(tmp_path, "ingest")
    assert "did you mean 'binance'" in answer or "binance" in answer.split("do:")[1]


def test_an_unknown_symbol_is_refused_and_no_table_is_made(tmp_path: Path) -> None:
    market = Market(("BTC/USDT", "ETH/USDT"), seed=1, start=datetime(2024, 1, 1, tzinfo=UTC), base="1h")
    with simulated_exchange(market, clock=lambda: datetime.now(UTC)) as exchange:
        make_exchange(tmp_path, url=exchange.url, symbol="BTC/USDTT")
        assert "did you mean 'BTC/USDT'" in refused(tmp_path, "ingest")
        assert said(tmp_path, "tables") == []
        make_exchange(tmp_path, url=exchange.url, symbol="ETH/USDT")
        (brought,) = said(tmp_path, "ingest")
        assert brought["new"] > 0


def make_exchange(folder: Path, *, exchange: str = "binance", url: str = "", symbol: str = "BTC/USDT") -> None:
    source = f'[sources.candles]\nkind = "exchange"\nexchange = "{exchange}"\nsymbols = ["{symbol}"]\nhistory = "3d"\n'
    (folder / "springtide.toml").write_text(source + (f'url = "{url}"\n' if url else ""))


# Rows that nothing can be learned from


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (csv(0, 27), ["27", "24"]),
        ("\n".join([HEADER, *(f"{START + timedelta(hours=hour)},7,7,7,7,1" for hour in range(900))]), ["BTC/USDT"]),
    ],
    ids=["shorter than window and horizon", "constant prices"],
)
def test_a_run_on_rows_that_teach_nothing_is_refused_and_recorded(rows: str, words: list[str], tmp_path: Path) -> None:
    make_home(tmp_path, rows=1)
    (tmp_path / "rows" / "first.csv").write_text(rows.replace("+00:00", ""))
    done = springtide(tmp_path, "retrain", "btc", "--json", code=1)
    assert done.stdout == ""
    assert all(word in done.stderr for word in [*words, "  where: ", "  do: "]), done.stderr
    (run,) = said(tmp_path, "runs")
    assert run["state"] == "failed"
    assert run["failure"]["what"] in done.stderr
    assert said(tmp_path, "models")[0]["versions"] == 0


# Files of models


def test_a_damaged_model_file_is_refused_and_the_sound_one_served_again(trained: Path) -> None:
    answer = said(trained, "forecast", "btc")
    digest = said(trained, "show", "btc@1")["manifest"]["files"]["model.onnx"]
    (blob,) = (trained / "var").rglob(digest)
    sound = blob.read_bytes()
    place = len(sound) // 2
    blob.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
    for command in (("forecast", "btc"), ("promote", "btc@1")):
        answered = refused(trained, *command)
        assert answered.startswith(("ModelRefused: ", "NotReady: ")), command
        assert "model.onnx of btc@1 is damaged" in answered
        assert "roll back to another version" in answered
    blob.write_bytes(sound)
    assert said(trained, "forecast", "btc") == answer
    assert len(said(trained, "journal", "btc")) == 1


# A full disk, two at once, a stop by hand


def on_a_full_disk(folder: Path, disk: Path, *commands: str) -> tuple[str, list[Any]]:
    """What the first of three commands says on the error stream, and its exit code with what the others print."""
    disk.mkdir()
    done = subprocess.run(
        ["unshare", "--mount", "--user", "--map-root-user", "sh", "-c", SMALL_DISK, COMMAND, folder, disk, *commands],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if "----" not in done.stdout:
        pytest.skip(f"a small disk cannot be mounted here ({done.stderr.strip()})")
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr, [json.loads(part) for part in done.stdout.split("----")]


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare to mount a small disk with")
def test_an_ingest_onto_a_full_disk_is_refused_and_goes_on_when_there_is_space(tmp_path: Path) -> None:
    folder = make_home(tmp_path / "home", rows=KNOWN)
    springtide(folder, "ingest")
    before = said(folder, "tables")
    (folder / "rows" / "more.csv").write_text(csv(KNOWN, MANY))
    told, (code, (after,), journal) = on_a_full_disk(folder, tmp_path / "disk", "ingest", "ingest", "journal btc")
    assert "StoreFailed: " in told
    assert "nothing was written" in told
    assert "free some space" in told
    assert (code, journal) == (1, [])
    assert (after["new"], after["corrected"]) == (MANY - KNOWN, 0)  # none of them came before
    assert after["version"] == before[0]["version"] + 1


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare to mount a small disk with")
def test_a_run_on_a_full_disk_is_refused_and_the_champion_goes_on_serving(trained: Path, tmp_path: Path) -> None:
    words = ("retrain btc", "forecast btc", "journal btc")
    told, (code, forecast, journal) = on_a_full_disk(trained, tmp_path / "disk", *words)
    assert "StoreFailed: " in told
    assert "free space" in told
    assert code == 1
    assert forecast == said(trained, "forecast", "btc")
    assert len(journal) == 1


def many_files(folder: Path, count: int) -> None:
    make_home(folder, rows=BATCH)
    for number in range(1, count):
        (folder / "rows" / f"{number:03}.csv").write_text(csv(BATCH * number, BATCH * (number + 1)))


def ingest(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [COMMAND, "ingest"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_two_processes_that_bring_in_the_same_files_at_once_store_every_row_once(tmp_path: Path) -> None:
    many_files(tmp_path, 12)
    with ingest(tmp_path) as one, ingest(tmp_path) as other:
        told = [process.communicate(timeout=60) for process in (one, other)]
    assert [one.returncode, other.returncode] == [0, 0], told
    assert rows_of(tmp_path)["ds"].to_list() == [START + timedelta(hours=hour) for hour in range(12 * BATCH)]
    news = [line.new or 0 for line in opened(tmp_path).lake.table("candles").history()]
    assert sum(news) == 12 * BATCH


def test_an_ingest_stopped_by_hand_keeps_whole_files_and_the_next_one_brings_the_rest(tmp_path: Path) -> None:
    many_files(tmp_path, 40)
    log = tmp_path / "var" / "tables" / "candles" / "_delta_log"
    with ingest(tmp_path) as process:
        wait_until(lambda: len(list(log.glob("*.json"))) > 5, process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    rows = rows_of(tmp_path)
    assert 0 < rows.height < 40 * BATCH
    assert rows.height % BATCH == 0
    (brought,) = said(tmp_path, "ingest")
    assert brought["new"] == 40 * BATCH - rows.height
    assert rows_of(tmp_path).height == 40 * BATCH
