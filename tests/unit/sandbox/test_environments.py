"""Environments in a folder: who makes them, who waits, which are kept, and what pip sees and says."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from springtide.domain.errors import ComputeFailed, NotReady
from springtide.sandbox import environments
from springtide.sandbox.environments import Environments
from springtide.sandbox.installing import variables_for_pip

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an environment ``small`` of no packages, and its pins."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "images" / "small").mkdir(parents=True)
    (folder / "images" / "small" / "requirements.txt").write_text("# none\n")
    Environments(folder / "kept", folder / "images").build("small", None, print)
    return folder


@pytest.fixture
def made(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environments:
    """A copy of it, where a script may want the packages one, two, three and big, which come from a folder."""
    shutil.copytree(base, tmp_path / "made", symlinks=True)
    for name in ("one", "two", "three"):
        make_wheel(tmp_path / "wheels", name, b"")
    make_wheel(tmp_path / "wheels", "big", os.urandom(8_000_000))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    return Environments(tmp_path / "made" / "kept", tmp_path / "made" / "images")


def make_wheel(folder: Path, name: str, data: bytes) -> None:
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", "")
        wheel.writestr(f"{name}/data", data)
        about = f"{name}-1.0.dist-info"
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")


@contextmanager
def pip_that_hangs(made: Environments, said: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Thread]:
    """A build of a layer whose package index was asked, and does not answer as long as the block lasts."""

    def build() -> None:
        with pytest.raises(ComputeFailed) as failed:
            made.build("small", "nowhere", said.append)
        said.append(str(failed.value))

    building = threading.Thread(target=build)
    with socket.create_server(("127.0.0.1", 0)) as index:
        index.settimeout(30)
        with monkeypatch.context() as ours:
            ours.delenv("PIP_NO_INDEX")
            ours.setenv("PIP_RETRIES", "0")
            ours.setenv("PIP_INDEX_URL", f"http://me:s3cr3t@127.0.0.1:{index.getsockname()[1]}/simple")
            building.start()
            asked, _ = index.accept()
        with asked:
            yield building
    building.join()


def test_while_pip_hangs_nobody_waits_for_what_is_there_or_can_be_had(
    made: Environments, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.build("small", "one", print)
    said: list[str] = []
    with pip_that_hangs(made, said, monkeypatch) as building:
        began = time.monotonic()
        made.build("small", None, print)
        made.build("small", "one", print)
        assert time.monotonic() - began < 10  # pip asks for its 10 minutes
        made.build("small", "two", print)
        assert building.is_alive()
    assert "No matching distribution found for nowhere" in said[-1]
    assert "s3cr3t" not in "".join(said)


def test_pip_is_ended_when_it_has_taken_long_enough(made: Environments, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "LAYER", replace(environments.LAYER, seconds=3))
    said: list[str] = []
    with pip_that_hangs(made, said, monkeypatch) as building:
        building.join(30)
        assert not building.is_alive()
    assert "it took more than 0.05 minutes" in said[-1]


def test_a_layer_that_takes_too_much_room_is_not_made_and_nothing_of_it_stays(
    made: Environments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "LAYER", replace(environments.LAYER, disk=4_000_000))
    with pytest.raises(ComputeFailed, match=r"take more than 0\.004 GB"):
        made.build("small", "big", print)
    assert [path.name for path in (tmp_path / "made" / "kept").iterdir() if path.is_dir()] == [
        made.names("small", None)[0]
    ]


def is_there(made: Environments, package: str) -> bool:
    try:
        made.find("small", package)
    except NotReady:
        return False
    return True


def test_of_many_layers_those_go_that_were_not_used_for_longest_and_none_that_is_used(
    made: Environments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "MOST_LAYERS", 2)
    for package in ("one", "two"):
        made.build("small", package, print)
    with made.used("small", "two"):
        pass
    with made.used("small", "one"), made.used("small", None) as found:
        made.build("small", "three", print)
        made.build("small", "one\ntwo", print)
        assert [is_there(made, each) for each in ("one", "two", "three", "one\ntwo")] == [True, False, True, True]
    made.build("small", "one", pytest.fail)
    made.sweep()
    assert [is_there(made, each) for each in ("one", "three", "one\ntwo")] == [True, False, True]
    assert found[0].is_dir()


def test_of_layers_that_take_too_much_room_together_the_oldest_go(
    made: Environments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "MOST_BYTES", 10_000_000)
    for package in ("big", "one", "two", "big\none"):
        made.build("small", package, print)
    assert [is_there(made, each) for each in ("big", "one", "two", "big\none")] == [False, True, True, True]


def test_what_a_builder_that_died_has_half_made_is_swept_and_nothing_that_is_being_made(
    made: Environments, tmp_path: Path
) -> None:
    kept = tmp_path / "made" / "kept"
    for left in (".dead.making-x", ".alive.making-x", ".dead.discarded-x"):
        (kept / left / "bin").mkdir(parents=True)
    with made._locked("alive", environments.fcntl.LOCK_EX):
        made.sweep()
    assert [path.name for path in kept.glob(".*-x")] == [".alive.making-x"]


def test_pip_sees_where_packages_come_from_and_no_secret_of_ours() -> None:
    ours = {"SPRINGTIDE_STREAMS__URL": "amqp://me:word@host", "AWS_SECRET_ACCESS_KEY": "x", "PYTHONPATH": "/x"}
    seen = {"PATH": "/bin", "HOME": "/root", "PIP_INDEX_URL": "https://host/simple", "https_proxy": "http://host:1"}
    assert variables_for_pip({**ours, **seen}) == seen


def test_pip_does_not_see_what_the_process_that_starts_it_sees(
    made: Environments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPRINGTIDE_SECRET", "s3cr3t")
    monkeypatch.setattr(environments, "read_requirements", lambda _text: ('one; os_name == "${SPRINGTIDE_SECRET}"',))
    said: list[str] = []
    made.build("small", "whatever", said.append)
    assert "SPRINGTIDE_SECRET" in "".join(said)
    assert "s3cr3t" not in "".join(said)
