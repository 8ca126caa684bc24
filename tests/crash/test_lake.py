"""A writer that is killed, that races another process or that fills the disk: nothing is lost, doubled or torn."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl
import pytest

from springtide.domain.rows import Filter
from springtide.lake.tables import Lake

if TYPE_CHECKING:
    from pathlib import Path

START = datetime(2024, 1, 1, tzinfo=UTC)
BATCH = 20

# Batch i brings hours 20 i .. 20 i + 19 and corrects the last hour of the batch before; the mark is i.
WRITER = """
import sys
from datetime import UTC, datetime, timedelta
import polars as pl
from springtide.lake.columns import MOMENT
from springtide.lake.tables import Lake

folder, until = sys.argv[1], int(sys.argv[2])
table = Lake(folder).open("t", step_s=3600)
done = table.mark("batch")
for batch in range(0 if done is None else done + 1, until):
    hours = range(max(0, 20 * batch - 1), 20 * batch + 20)
    times = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in hours]
    rows = pl.DataFrame(
        {"unique_id": "a", "ds": times, "batch": [batch] * len(times)}, schema_overrides={"ds": MOMENT}
    )
    table.write(rows, marks={"batch": batch})
    print(batch, flush=True)
"""

RACER = """
import sys, time
from pathlib import Path
from datetime import UTC, datetime, timedelta
import polars as pl
from springtide.lake.columns import MOMENT
from springtide.lake.tables import Lake

folder, name = sys.argv[1], sys.argv[2]
table = Lake(folder).open("t", step_s=3600)
Path(folder, name + ".ready").touch()
while not Path(folder, "go").exists():
    time.sleep(0.001)
for batch in range(12):
    times = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in range(10 * batch, 10 * batch + 15)]
    shared = pl.DataFrame({"unique_id": "shared", "ds": times, "y": [1.0] * 15}, schema_overrides={"ds": MOMENT})
    own = shared.with_columns(pl.lit(name).alias("unique_id"))
    table.write(pl.concat([shared, own]), marks={name: batch})
"""

FILLER = """
import resource, sys
from datetime import UTC, datetime, timedelta
import polars as pl
from springtide.domain.errors import StoreFailed
from springtide.lake.columns import MOMENT
from springtide.lake.tables import Lake

folder, limit = sys.argv[1], int(sys.argv[2])
table = Lake(folder).open("t")
times = pl.datetime_range(datetime(2024, 1, 1), datetime(2034, 1, 1), "1h", time_zone="UTC", eager=True)
rows = pl.DataFrame({"unique_id": "a", "ds": times.cast(MOMENT), "y": pl.Series(range(len(times))).hash().cast(pl.String)})
table.write(rows.head(10), marks={"m": 1})
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    table.write(rows, marks={"m": 2})
except StoreFailed as error:
    assert "nothing was written" in str(error), error
    assert (table.version(), table.mark("m"), table.scan().collect().height) == (0, 1, 10)
    print("refused")
"""


def start(program: str, *words: str | int | Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", program, *map(str, words)], stdout=subprocess.PIPE, text=True)


def hours(count: int) -> list[datetime]:
    return [START + timedelta(hours=hour) for hour in range(count)]


def test_a_writer_killed_in_the_middle_leaves_whole_batches_and_the_next_one_goes_on(tmp_path: Path) -> None:
    delays = random.Random(7)
    for _ in range(4):
        with start(WRITER, tmp_path, 10_000) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()  # it is writing now
            time.sleep(delays.uniform(0.0, 0.25))
            writer.kill()
        table = Lake(str(tmp_path)).table("t")
        last = table.mark("batch")
        assert last is not None
        rows = table.scan().collect().sort("ds")
        assert rows["ds"].to_list() == hours(BATCH * (last + 1))
        # the last hour of every batch but the newest was corrected by the batch after it
        expected = [min(hour // BATCH + (hour % BATCH == BATCH - 1), last) for hour in range(rows.height)]
        assert rows["batch"].to_list() == expected
        table.verify(table.snapshot(Filter()))


def test_two_processes_that_write_the_same_rows_at_once_leave_each_row_once(tmp_path: Path) -> None:
    racers = [start(RACER, tmp_path, name) for name in ("one", "two")]
    while len(list(tmp_path.glob("*.ready"))) < len(racers):
        assert all(racer.poll() is None for racer in racers)
        time.sleep(0.01)
    (tmp_path / "go").touch()
    assert [racer.wait(60) for racer in racers] == [0, 0]
    for racer in racers:
        racer.communicate()
    table = Lake(str(tmp_path)).table("t")
    assert [table.mark(name) for name in ("one", "two")] == [11, 11]
    rows = table.scan().collect()
    for name in ("shared", "one", "two"):
        assert sorted(rows.filter(pl.col("unique_id") == name)["ds"]) == hours(125)
    assert rows.height == 3 * 125
    new = [line.new for line in table.history()]
    assert sum(count or 0 for count in new) == rows.height


def test_a_file_that_may_not_grow_leaves_the_table_as_it_was(tmp_path: Path) -> None:
    with start(FILLER, tmp_path, 100_000) as filler:
        out, _ = filler.communicate(timeout=60)
    assert (filler.returncode, out.strip()) == (0, "refused")


def test_a_full_disk_leaves_the_table_as_it_was(tmp_path: Path) -> None:
    script = f'mount -t tmpfs -o size=300k tmpfs "{tmp_path}" && exec "$0" "$@"'
    own = ["unshare", "--mount", "--user", "--map-root-user", "sh", "-c"]
    try:
        subprocess.run([*own, script, "true"], check=True, capture_output=True, timeout=20)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small disk cannot be mounted here ({error})")
    filled = subprocess.run(
        [*own, script, sys.executable, "-c", FILLER, str(tmp_path), "0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (filled.returncode, filled.stdout.strip()) == (0, "refused"), filled.stderr
