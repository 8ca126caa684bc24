"""Zips from outside: what is hostile is refused before a byte is unpacked."""

from __future__ import annotations

import stat
import tracemalloc
import zipfile
from typing import TYPE_CHECKING

import pytest

from springtide.sdk import Refusal
from springtide.trainers import archives
from springtide.trainers.archives import check_archive, pack, pack_folder, unpack

if TYPE_CHECKING:
    from pathlib import Path


def zipped(path: Path, *names: str, data: bytes = b"x") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    "name",
    ["../evil", "a/../../evil", "/etc/evil", "C:\\evil", "..\\evil", "a\\..\\..\\evil", "C:evil", "a\0/../b"],
)
def test_a_name_that_leads_out_is_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    archive, folder = tmp_path / "a.zip", tmp_path / "folder" / "in"
    with zipfile.ZipFile(archive, "w") as made:
        info = zipfile.ZipInfo("good")
        made.writestr(info, "x")
        bad = zipfile.ZipInfo("p" * len(name))
        made.writestr(bad, "x")
    archive.write_bytes(archive.read_bytes().replace(b"p" * len(name), name.encode()))
    folder.mkdir(parents=True)
    with pytest.raises(Refusal, match="leads out of it"):
        unpack(archive, folder)
    assert sorted(tmp_path.rglob("*")) == [archive, folder.parent, folder]


def test_a_bomb_is_refused_by_what_it_unpacks_to(tmp_path: Path) -> None:
    bomb = zipped(tmp_path / "bomb.zip", *map(str, range(100)), data=bytes(1 << 20))
    assert bomb.stat().st_size < 1 << 20
    with pytest.raises(Refusal, match="it unpacks to 100 MiB"):
        check_archive(bomb)


def test_a_bomb_that_lies_about_its_size_ends_where_it_said(tmp_path: Path) -> None:
    bomb = zipped(tmp_path / "bomb.zip", "a", data=bytes(1 << 20))
    size = (1 << 20).to_bytes(4, "little")
    bomb.write_bytes(bomb.read_bytes().replace(size, (10).to_bytes(4, "little")))
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(Refusal):
        unpack(bomb, folder)
    assert sum(file.stat().st_size for file in folder.rglob("*")) <= 10


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(Refusal, match="is a link or a device"):
        check_archive(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="the same name"):
        check_archive(zipped(tmp_path / "a.zip", "a", "a"))


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_MEMBERS", 3)
    with pytest.raises(Refusal, match="it holds 4 files"):
        check_archive(zipped(tmp_path / "a.zip", *"abcd"))


@pytest.mark.parametrize(
    ("many", "why"),
    [(archives.MOST_MEMBERS + 1, "it holds 10001 files"), (90_000, "the list of its files has 4,578,890 bytes")],
    ids=["one too many", "so many that only zip64 can say it"],
)
def test_of_too_many_files_no_list_is_made_whatever_the_zip_says(tmp_path: Path, many: int, why: str) -> None:
    path = zipped(tmp_path / "a.zip", *map(str, range(many)), data=b"")
    said = many.to_bytes(2, "little") if many < 0xFFFF else many.to_bytes(8, "little")
    lying = path.read_bytes()
    end = lying.rindex(said)
    path.write_bytes(lying[:end] + (1).to_bytes(len(said), "little") + lying[end + len(said) :])
    tracemalloc.start()
    with pytest.raises(Refusal, match=why):
        check_archive(path)
    assert tracemalloc.get_traced_memory()[1] < 2 * archives.MOST_DIRECTORY
    tracemalloc.stop()


@pytest.mark.parametrize("keep", [10, 100])
def test_a_zip_that_is_cut_short_is_refused(tmp_path: Path, keep: int) -> None:
    whole = zipped(tmp_path / "a.zip", "a", data=bytes(range(256)) * 10)
    whole.write_bytes(whole.read_bytes()[:keep])
    with pytest.raises(Refusal, match="cannot be read as zip"):
        check_archive(whole)


def test_a_zip_whose_bytes_are_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"content" * 100)
    path.write_bytes(path.read_bytes().replace(b"contentcontent", b"contenTcontent", 1))
    with pytest.raises(Refusal, match="cannot be read as zip"):
        unpack(path, tmp_path)


def test_what_is_packed_unpacks_the_same_and_packs_to_the_same_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "a").write_bytes(b"1" * 1000)
    (folder / "b").write_bytes(b"2")
    pack_folder(folder, tmp_path / "one.zip")
    pack({"b": folder / "b", "inner/a": folder / "inner" / "a"}, tmp_path / "two.zip")
    unpack(tmp_path / "one.zip", tmp_path / "out")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert (tmp_path / "out" / "inner" / "a").read_bytes() == b"1" * 1000
