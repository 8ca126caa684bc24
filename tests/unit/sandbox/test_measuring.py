"""What processes use, read from outside."""

from __future__ import annotations

import os
import subprocess
import sys
from math import inf
from typing import TYPE_CHECKING

from springtide.sandbox.measuring import DEEPEST, INODE, bytes_resident, bytes_written, tree

if TYPE_CHECKING:
    from pathlib import Path

FAMILY = """
import os, sys, time
kept = bytearray(b'x' * 50_000_000)
for _ in range(3):
    if os.fork() == 0:
        break
print('ready', flush=True)
time.sleep(60)
"""


def test_memory_that_processes_share_is_counted_once_above_the_limit() -> None:
    with subprocess.Popen([sys.executable, "-c", FAMILY], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        for _ in range(4):
            parent.stdout.readline()
        pids = tree(parent.pid)
        assert len(pids) == 4
        assert bytes_resident(pids, enough=10**9) > 200_000_000
        assert 50_000_000 < bytes_resident(pids, enough=100_000_000) < 100_000_000
        for pid in pids:
            os.kill(pid, 9)


HOLE = """
import mmap, time
hole = mmap.mmap(-1, 32 << 30, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, mmap.PROT_READ)
hole.madvise(mmap.MADV_NOHUGEPAGE)
for place in range(0, len(hole), 2 << 20):
    hole[place]
print('ready', flush=True)
time.sleep(60)
"""


def test_page_tables_are_memory_too() -> None:
    with subprocess.Popen([sys.executable, "-c", HOLE], stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        for enough in (0, 10**9):
            assert bytes_resident([reader.pid], enough=enough) > 64_000_000  # a page of them for each 2 MiB
        reader.kill()


def test_a_process_that_has_ended_uses_nothing() -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    assert bytes_resident(tree(ended.pid), enough=0) == 0


def test_what_is_written_counts_with_folders_and_empty_files(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"x" * 100_000)
    (tmp_path / "empty").touch()
    assert 100_000 + 2 * INODE <= bytes_written(tmp_path, []) < 120_000 + 2 * INODE


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "usr").symlink_to("/usr")
    assert bytes_written(tmp_path, []) == INODE


def test_a_file_that_was_deleted_counts_while_it_is_open(tmp_path: Path) -> None:
    with (tmp_path / "gone").open("wb") as file:
        file.write(b"x" * 1_000_000)
        file.flush()
        (tmp_path / "gone").unlink()
        assert bytes_written(tmp_path, [os.getpid()]) >= 1_000_000
    assert bytes_written(tmp_path, [os.getpid()]) < 1_000_000


def test_folders_deeper_than_anybody_needs_are_more_than_any_limit(tmp_path: Path) -> None:
    tmp_path.joinpath(*["d"] * DEEPEST).mkdir(parents=True)
    assert bytes_written(tmp_path, []) < inf
    tmp_path.joinpath(*["d"] * (DEEPEST + 1)).mkdir()
    assert bytes_written(tmp_path, []) == inf
