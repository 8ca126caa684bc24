"""Hostile scripts, one by one, in every engine: what each tries, and what happens."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.cells import ROOMY, TIGHT, attempt, survivors
from tests.hostile import HOSTILE

from springtide.domain.errors import ModelRefused, NotReady
from springtide.sandbox.collecting import collect, remove
from springtide.sandbox.container import Container
from springtide.sandbox.finding import sweep
from springtide.sandbox.users import FIRST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from springtide.sandbox.seam import Engine


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "work"
    folder.mkdir()
    yield folder
    assert survivors(folder) == []
    remove(folder)


def test_a_script_that_does_its_work_is_told_line_by_line_and_leaves_its_files(engine: Engine, work: Path) -> None:
    script = "import pathlib\nprint('begun')\npathlib.Path('out').mkdir()\npathlib.Path('out/model').write_text('x')"
    tried = attempt(engine, work, script)
    assert (tried.ended.reason, tried.ended.code, tried.lines) == ("finished", 0, ["begun"])
    assert collect(work, ["out/model"], 10)["out/model"].read_text() == "x"


def test_a_script_that_fails_says_how(engine: Engine, work: Path) -> None:
    tried = attempt(engine, work, "raise SystemExit('no such column: price')")
    assert (tried.ended.reason, tried.ended.code) == ("failed", 1)
    assert tried.ended.tail == "no such column: price"


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_script_ends_for_its_reason_and_in_time(engine: Engine, work: Path, what: str) -> None:
    data = work.parent / "data"
    data.write_text("a,b\n")
    tried = attempt(engine, work, HOSTILE[what].script, limits=TIGHT, inputs={"data": data})
    assert tried.ended.reason == HOSTILE[what].ends, tried.ended
    assert tried.seconds < 8
    assert sum(map(len, tried.lines)) <= TIGHT.output + 2 * 65_536
    assert len(tried.lines) <= TIGHT.output / 32 + 1
    assert len(tried.ended.tail) <= 4000
    assert data.read_text() == "a,b\n"


def test_a_fork_bomb_ends_at_its_limit(engine: Engine, work: Path) -> None:
    attempt(engine, work, HOSTILE["forks without end"].script, limits=TIGHT)
    names = {path.name for path in work.iterdir()}
    assert "refused" in names
    assert len(names) < 100


def test_while_one_cell_forks_without_end_another_one_gets_its_processes(engine: Engine, work: Path) -> None:
    bomb, quiet = work / "bomb", work / "quiet"
    bomb.mkdir()
    quiet.mkdir()
    stop = threading.Event()
    script = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
    limits = replace(ROOMY, processes=24)
    thread = threading.Thread(target=attempt, args=(engine, bomb, script), kwargs={"limits": limits, "stop": stop})
    thread.start()
    time.sleep(0.5)
    many = "import subprocess\nprint(sum(subprocess.run(['true']).returncode == 0 for _ in range(10)))"
    try:
        assert attempt(engine, quiet, many, limits=limits).lines == ["10"]
    finally:
        stop.set()
        thread.join()


def test_a_script_that_opens_sockets_reaches_nobody(engine: Engine, work: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind("\0springtide-test")
        abstract.listen()
        script = f"""
import socket
for family, address in [
    (socket.AF_INET, ("127.0.0.1", {server.getsockname()[1]})),
    (socket.AF_INET, ("192.0.2.1", 80)),
    (socket.AF_UNIX, "\\0springtide-test"),
    (socket.AF_UNIX, "/run/docker.sock"),
    (socket.AF_UNIX, "/run/podman/podman.sock"),
    (40, (2, 1024)),  # AF_VSOCK: the machine below a virtual one
    (17, ("lo", 0)),  # AF_PACKET
]:
    try:
        with socket.socket(family, socket.SOCK_RAW if family == 17 else socket.SOCK_STREAM) as tried:
            tried.settimeout(2)
            tried.connect(address)
        print("reached", address)
    except OSError:
        pass
try:
    print("reached", socket.getaddrinfo("localhost.localdomain.example", 80))
except OSError:
    print("end")
"""
        assert attempt(engine, work, script).lines == ["end"]
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_nothing_of_our_environment_is_seen(engine: Engine, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do-not-tell")
    (work.parent / "beside").write_text("do-not-tell")
    script = f"""
import os, pathlib, socket
print(dict(os.environ), os.getuid(), socket.gethostname(), os.path.exists({str(work.parent)!r}))
for place in pathlib.Path('/proc').glob('*/environ'):
    try:
        print(place.read_text())
    except OSError:
        pass
print(sum(path.name.isdigit() for path in pathlib.Path('/proc').iterdir()), 'processes')
"""
    tried = attempt(engine, work, script)
    said = "\n".join(tried.lines)
    assert tried.ended.reason == "finished"
    assert "do-not-tell" not in said
    assert socket.gethostname() not in said
    assert " False" in tried.lines[0]
    assert tried.lines[-1] in {"1 processes", "2 processes"}
    assert os.geteuid() != 0 or " 52" in tried.lines[0]


def test_a_link_is_no_output(engine: Engine, work: Path) -> None:
    script = "import os\nos.symlink('/etc/passwd', 'model.onnx')\nos.symlink('/etc', 'out')"
    assert attempt(engine, work, script).ended.reason == "finished"
    with pytest.raises(ModelRefused, match="is a link"):
        collect(work, ["model.onnx"], 10**6)
    with pytest.raises(ModelRefused, match="is a link"):
        collect(work, ["out/passwd"], 10**6)


def test_a_script_that_kills_its_parent_and_everybody_kills_only_itself(engine: Engine, work: Path) -> None:
    script = """
import os, signal
for pid in [os.getppid(), 1, -1]:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass
print("end")
"""
    with subprocess.Popen(["sleep", "60"]) as bystander:
        tried = attempt(engine, work, script)
        assert bystander.poll() is None
        bystander.kill()
    assert tried.ended.reason in {"finished", "failed"}


def test_a_script_that_writes_outside_its_folder_is_refused(engine: Engine, work: Path) -> None:
    data = work.parent / "data.csv"
    data.write_text("a,b\n")
    data.chmod(0o666)
    script = """
import pathlib
for place in ['/x', '/in/x', '/in/data', '/usr/x', '/opt/env/x', '/etc/x', '/root/x', '/var/x', '/dev/x', '/run/x',
              '/proc/sys/kernel/hostname', '/proc/sysrq-trigger', '/sys/x', '/work/../x']:
    try:
        pathlib.Path(place).write_text('x')
        print('written', place)
    except OSError:
        pass
print('end')
"""
    assert attempt(engine, work, script, inputs={"data": data}).lines == ["end"]
    assert data.read_text() == "a,b\n"


def test_a_script_has_no_rights_and_gets_none(engine: Engine, work: Path) -> None:
    script = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
tries = {
    'setuid': lambda: libc.setuid(0),
    'mount': lambda: libc.mount(b'none', b'/work', b'tmpfs', 0, None),
    'chroot': lambda: libc.chroot(b'/work'),
    'raise nproc': lambda: __import__('resource').setrlimit(6, (10**6, 10**6)),
}
for name, call in tries.items():
    try:
        if call() != -1:
            print(name)
    except (OSError, ValueError):
        pass
for line in open('/proc/self/status'):
    if line.startswith(('CapEff', 'CapBnd', 'NoNewPrivs', 'Seccomp:')):
        print(*line.split())
"""
    tried = attempt(engine, work, script)
    assert tried.lines == ["CapEff: 0000000000000000", "CapBnd: 0000000000000000", "NoNewPrivs: 1", "Seccomp: 2"]


def test_what_is_stopped_is_gone_within_two_seconds_also_what_has_left_its_session(engine: Engine, work: Path) -> None:
    script = """
import os, time
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                time.sleep(0.01)
        os._exit(0)
print('begun')
time.sleep(60)
"""
    stop = threading.Event()
    timer = threading.Timer(1.0, stop.set)
    timer.start()
    tried = attempt(engine, work, script, stop=stop)
    assert tried.ended.reason == "stopped"
    assert tried.seconds < 3
    assert survivors(work) == []


def test_an_environment_that_was_not_built_is_not_run_in(engine: Engine, work: Path) -> None:
    with pytest.raises(NotReady, match="springtide images build"):
        attempt(engine, work, "print(1)", environment="unbuilt")


ORPHAN = """
import sys, threading
from pathlib import Path
from springtide.sandbox.container import Container
from springtide.sandbox.seam import Cell, Limits
engine = Container(sys.argv[1], base_image=sys.argv[2], images=Path(sys.argv[3]))
limits = Limits(10**9, 1, 64, 10**8, 60, 10**6)
cell = Cell("bare", ("python", "-c", "import time; print('begun'); time.sleep(60)"), Path(sys.argv[4]), {})
engine.run(cell, limits, on_line=lambda line: print(line, flush=True), stop=threading.Event())
"""


def test_a_container_of_a_process_that_was_killed_is_ended_by_a_sweep_within_two_seconds(
    engine: Engine, work: Path
) -> None:
    if not isinstance(engine, Container):
        pytest.skip("what bubblewrap runs ends with its process")
    places = [engine._url, engine._base, str(engine._images), str(work)]
    with subprocess.Popen([sys.executable, "-c", ORPHAN, *places], stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"begun\n"
        worker.kill()
    assert len(survivors(work)) == 1
    began = time.monotonic()
    sweep("container", environments=work.parent / "environments", socket=engine._url)
    assert survivors(work) == []
    assert time.monotonic() - began < 2


def test_a_uid_is_not_lent_again_while_a_container_of_it_lives(engine: Engine, work: Path) -> None:
    if not isinstance(engine, Container):
        pytest.skip("what bubblewrap runs ends with its process")
    with engine._client() as client:
        image = engine._names("bare", None)[0]
        other = client.create_container(image, ["sleep", "60"], entrypoint=[], labels={"springtide.user": str(FIRST)})
        client.start(other["Id"])
        try:
            (uid,) = attempt(engine, work, "import os; print(os.getuid())").lines
        finally:
            client.remove_container(other["Id"], force=True, v=True)
    assert int(uid) > FIRST


def test_the_password_of_a_package_index_stays_in_no_image(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not isinstance(engine, Container):
        pytest.skip("bubblewrap has no images")
    shutil.copytree(engine._images / "bare", tmp_path / "images" / "bare")
    (tmp_path / "images" / "bare" / "requirements.txt").write_text(f"# {tmp_path}\n")
    monkeypatch.setenv("PIP_INDEX_URL", "http://me:s3cr3t@127.0.0.1:9/simple")
    said: list[str] = []
    other = Container(engine._url, base_image=engine._base, build_network="host", images=tmp_path / "images")
    image = other.build("bare", None, said.append)
    with engine._client() as client:
        kept = f"{client.history(image)} {client.inspect_image(image)}"
        client.remove_image(image)
    assert any("127.0.0.1:9/simple" in line for line in said), "pip has not seen it"
    assert "s3cr3t" not in kept + " ".join(said)
