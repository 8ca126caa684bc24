"""What is special to cells by bubblewrap: the filter of system calls, cores, users, and their environments."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.cells import ROOMY, attempt, survivors
from tests.engines import need_bubblewrap

from springtide.domain.errors import ComputeFailed, NotReady, SettingsError, StoreFailed
from springtide.sandbox.bubblewrap import Bubblewrap
from springtide.sandbox.environments import IMAGES, Environments, pins
from springtide.sandbox.seam import ENVIRONMENTS, Cell
from springtide.sandbox.users import lent_user

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Bubblewrap:
    """A real environment of one package, made as all are."""
    need_bubblewrap()
    images = tmp_path_factory.mktemp("images")
    (images / "small").mkdir()
    (images / "small" / "requirements.txt").write_text("six==1.17.0\n")
    made = Bubblewrap(Environments(tmp_path_factory.mktemp("environments"), images))
    made.build("small", None, print)
    return made


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


CALLS = """
import ctypes, errno, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    return errno.errorcode[ctypes.get_errno()] if libc.syscall(*arguments) == -1 else 'allowed'
print('memfd_create', call({memfd_create}, b'x', 0))
print('unshare', call({unshare}, 0x10000000))
print('clone', call({clone}, 0x10000000 | 17, 0, 0, 0, 0))
print('clone3', call({clone3}, 0, 0))
print('keyctl', call({keyctl}, 0, -3, 1))
print('bpf', call({bpf}, 0, 0, 0))
print('ptrace', call({ptrace}, 0, 0, 0, 0))
for family in (socket.AF_UNIX, socket.AF_INET, 40):
    try:
        socket.socket(family).close()
        print('socket', int(family), 'allowed')
    except OSError as error:
        print('socket', int(family), errno.errorcode[error.errno])
os.sched_setaffinity(0, range(100))
print(len(os.sched_getaffinity(0)), 'core')
"""


@pytest.mark.skipif(os.uname().machine not in {"x86_64", "aarch64"}, reason="no seccomp filter for this machine")
def test_calls_that_no_training_needs_are_refused(engine: Bubblewrap, work: Path) -> None:
    names = ("memfd_create", "unshare", "clone", "clone3", "keyctl", "bpf", "ptrace")
    x86 = dict(zip(names, (319, 272, 56, 435, 250, 321, 101), strict=True))
    arm = dict(zip(names, (279, 97, 220, 435, 219, 280, 117), strict=True))
    script = CALLS.format(**(x86 if os.uname().machine == "x86_64" else arm))
    assert attempt(engine, work, script, environment="small", limits=replace(ROOMY, cpus=0.5)).lines == [
        "memfd_create EPERM",
        "unshare EPERM",
        "clone EPERM",
        "clone3 ENOSYS",
        "keyctl EPERM",
        "bpf EPERM",
        "ptrace EPERM",
        "socket 1 allowed",
        "socket 2 allowed",
        "socket 40 EAFNOSUPPORT",
        "1 core",
    ]


def test_threads_and_processes_of_python_work_under_the_filter(engine: Bubblewrap, work: Path) -> None:
    script = """
import concurrent.futures, multiprocessing
if __name__ == '__main__':
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        print(sum(threads.map(abs, range(10))))
    with multiprocessing.get_context('fork').Pool(2) as processes:
        print(sum(processes.map(abs, range(10))))
"""
    assert attempt(engine, work, script, environment="small").lines == ["45", "45"]


def test_a_script_gets_the_packages_that_it_wants_beside_the_pinned_ones(engine: Bubblewrap, work: Path) -> None:
    name = engine.build("small", "toolz==1.0.0\n", print)
    assert engine.build("small", "toolz==1.0.0  # the same\n", pytest.fail) == name
    cell = Cell(
        "small",
        ("python", "-c", "import six, toolz; print(six.__version__, toolz.__version__)"),
        work,
        {},
        "toolz==1.0.0",
    )
    lines: list[str] = []
    engine.run(cell, ROOMY, on_line=lines.append, stop=threading.Event())
    assert lines == ["1.17.0 1.0.0"]


def test_a_script_that_wants_a_pinned_package_in_another_version_is_refused(engine: Bubblewrap) -> None:
    with pytest.raises(ComputeFailed, match=r"six==1\.16\.0"):
        engine.build("small", "six==1.16.0\n", print)


def test_a_script_that_was_not_built_for_is_not_run(engine: Bubblewrap, work: Path) -> None:
    cell = Cell("small", ("python", "-c", "print(1)"), work, {}, "idna==3.10")
    with pytest.raises(NotReady, match="not there"):
        engine.run(cell, ROOMY, on_line=print, stop=threading.Event())
    with pytest.raises(SettingsError, match="line 1"):
        engine.build("small", "--index-url=http://127.0.0.1", print)


def test_an_environment_that_is_not_known_is_answered_with_those_that_are(engine: Bubblewrap, work: Path) -> None:
    with pytest.raises(NotReady, match="did you mean 'small'"):
        attempt(engine, work, "print(1)", environment="smal")


def test_what_cannot_be_started_is_told_as_a_failure_of_ours(engine: Bubblewrap, work: Path) -> None:
    with pytest.raises(FileNotFoundError):
        attempt(engine, work, "print(1)", environment="small", inputs={"data": work / "missing"})
    with pytest.raises(ComputeFailed, match="could not be made"):
        attempt(engine, work, "print(1)", environment="small", inputs={"a": IMAGES, "a/b/c": IMAGES})


@pytest.mark.skipif(os.geteuid() != 0, reason="cells have our own user where we are not root")
def test_an_input_that_is_closed_to_others_is_named(engine: Bubblewrap, work: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.touch(mode=0o600)
    with pytest.raises(StoreFailed, match="'data' is closed"):
        attempt(engine, work, "print(1)", environment="small", inputs={"data": closed})


@pytest.mark.skipif(os.geteuid() != 0, reason="cells have our own user where we are not root")
def test_no_two_cells_have_one_user() -> None:
    with lent_user() as first, lent_user() as second:
        assert first != second
    with lent_user() as third:
        assert third == first


def test_when_our_listener_fails_nothing_is_left(engine: Bubblewrap, work: Path) -> None:
    def fail(_: str) -> None:
        raise RuntimeError("full")

    cell = Cell("small", ("python", "-c", "import time\nprint(1)\ntime.sleep(60)"), work, {})
    with pytest.raises(RuntimeError, match="full"):
        engine.run(cell, ROOMY, on_line=fail, stop=threading.Event())
    assert survivors(work) == []


def test_what_a_command_left_in_the_background_is_gone_when_its_cell_has_ended(engine: Bubblewrap, work: Path) -> None:
    script = """
import os
for _ in range(40):
    if os.fork() == 0:
        os.closerange(0, 3)
        kept = bytearray(b'x' * 5 * 10**6)
        while True:
            pass
"""
    for _ in range(5):
        assert attempt(engine, work, script, environment="small").ended.reason == "finished"
        assert survivors(work) == []


def test_a_link_in_the_place_of_the_temporary_folder_leads_no_cell_outside(
    engine: Bubblewrap, work: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir(mode=0o777)
    (work / ".tmp").symlink_to(tmp_path / "outside")
    swap = "import os, shutil\nopen('/tmp/x', 'w').close()\nshutil.rmtree('/work/.tmp')\n"
    swap += f"os.symlink({str(tmp_path / 'outside')!r}, '/work/.tmp')"
    assert attempt(engine, work, swap, environment="small").ended.reason == "finished"
    assert not os.path.lexists(work / ".tmp")
    assert list((tmp_path / "outside").iterdir()) == []


ORPHAN = """
import sys, threading
from pathlib import Path
from springtide.sandbox.bubblewrap import Bubblewrap
from springtide.sandbox.environments import Environments
from springtide.sandbox.seam import Cell, Limits
engine = Bubblewrap(Environments(Path(sys.argv[1]), Path(sys.argv[2])))
limits = Limits(10**9, 1, 64, 10**8, 60, 10**6)
cell = Cell("small", ("python", "-c", "import time; print('begun'); time.sleep(60)"), Path(sys.argv[3]), {})
engine.run(cell, limits, on_line=lambda line: print(line, flush=True), stop=threading.Event())
"""


def test_a_cell_does_not_outlive_a_process_that_was_killed(engine: Bubblewrap, work: Path) -> None:
    places = [str(engine._environments._folder), str(engine._environments._images), str(work)]
    with subprocess.Popen([sys.executable, "-c", ORPHAN, *places], stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"begun\n"
        worker.kill()
    deadline = time.monotonic() + 2
    while survivors(work) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert survivors(work) == []


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_environment_is_pinned_and_has_what_data_and_export_need(name: str) -> None:
    lines = pins(name).splitlines()
    assert all("==" in line for line in lines)
    assert {"numpy", "pandas", "pyarrow", "onnx", "onnxruntime"} <= {line.split("==")[0] for line in lines}
    assert (IMAGES / name / "Containerfile").is_file()


def test_a_living_cell_is_found_by_the_look_for_survivors(engine: Bubblewrap, work: Path) -> None:
    stop, seen = threading.Event(), []
    cell = Cell("small", ("python", "-c", "import time\nprint(1)\ntime.sleep(60)"), work, {})

    def look(_: str) -> None:
        seen.extend(survivors(work))
        stop.set()

    engine.run(cell, ROOMY, on_line=look, stop=stop)
    assert os.geteuid() != 0 or len(seen) == 1
