"""What a cell left behind: only plain files of an agreed size are taken."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from springtide.domain.errors import ModelRefused
from springtide.sandbox.collecting import collect, remove


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
