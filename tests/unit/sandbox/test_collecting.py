"""What a cell left behind: only plain files of an agreed size are taken."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from springtide.domain.errors import ModelRefused, StoreFailed
from springtide.sandbox.collecting import collect, remove

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_plain_files_are_found_by_name(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.onnx").write_bytes(b"12345")
    (tmp_path / "log").write_bytes(b"123")
    assert collect(tmp_path, ["out/model.onnx", "log"], 8) == {
        "out/model.onnx": tmp_path / "out" / "model.onnx",
        "log": tmp_path / "log",
    }


def test_outputs_that_are_too_big_together_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"12345")
    with pytest.raises(ModelRefused, match="more than 9 bytes"):
        collect(tmp_path, ["a", "b"], 9)


def test_a_file_of_holes_counts_with_its_whole_size(tmp_path: Path) -> None:
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(ModelRefused, match="more than"):
        collect(tmp_path, ["holes"], 10**9)


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


KINDS = {
    "is a link": lambda path: path.symlink_to("/etc/passwd"),
    "is a folder": lambda path: path.mkdir(),
    "is a pipe": make_pipe,
    "is a socket": make_socket,
    "is missing": lambda path: None,
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_plain_file_is_refused_by_its_kind(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    KINDS[kind](Path("x"))
    with pytest.raises(ModelRefused, match=kind):
        collect(tmp_path, ["x"], 10**6)


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", ""])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path.parent / "x").write_text("x")
    (tmp_path / "a").mkdir()
    with pytest.raises(ModelRefused, match="not inside"):
        collect(tmp_path, [name], 10**6)


def test_a_file_below_a_file_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with pytest.raises(ModelRefused, match="plain file"):
        collect(tmp_path, ["a/b"], 10**6)


def test_folders_deeper_than_a_path_can_be_long_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    for _ in range(50):
        Path("d" * 100).mkdir()
        os.chdir("d" * 100)
    monkeypatch.chdir(tmp_path)
    remove(work)
    assert not work.exists()


NOBODY = 65_534


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder of a user who is not root; the test is that user."""
    folder = Path(tempfile.mkdtemp(prefix="springtide-test-"))
    us = os.geteuid()
    if us == 0:
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    yield folder
    os.seteuid(us)
    remove(folder)


@pytest.fixture
def outside(place: Path) -> Path:
    """A folder beside the work folder, whose rights must stay as they are."""
    folder = place / "outside"
    folder.mkdir()
    (folder / "key").write_text("x")
    (folder / "key").chmod(0o400)
    folder.chmod(0o500)
    return folder


def rights(folder: Path) -> list[int]:
    return [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "key")]


def test_a_link_is_removed_and_what_it_leads_to_stays_as_it_is(place: Path, outside: Path) -> None:
    (place / "link").symlink_to(outside)
    remove(place / "link")
    assert not os.path.lexists(place / "link")
    assert rights(outside) == [0o500, 0o400]


def test_folders_that_are_closed_are_removed_and_links_in_them_lead_nowhere(place: Path, outside: Path) -> None:
    inner = place / "work" / "closed" / "inner"
    inner.mkdir(parents=True)
    (inner / "link").symlink_to(outside)
    for folder in (inner, *inner.parents[:2]):
        folder.chmod(0)
    remove(place / "work")
    assert not (place / "work").exists()
    assert rights(outside) == [0o500, 0o400]


def test_a_link_that_takes_the_place_of_a_folder_while_it_is_removed_leads_nowhere(place: Path, outside: Path) -> None:
    work = place / "work"
    for number in range(300):
        (work / str(number)).mkdir(parents=True)

    def swap() -> None:
        for number in range(300):
            with suppress(OSError):
                (work / str(number)).rename(place / f"moved-{number}")
                (work / str(number)).symlink_to(outside)

    swapping = threading.Thread(target=swap)
    swapping.start()
    with suppress(StoreFailed):
        remove(work)
    swapping.join()
    remove(work)
    assert not work.exists()
    assert rights(outside) == [0o500, 0o400]
