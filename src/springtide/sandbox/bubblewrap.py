"""Cells by bubblewrap, where there is no container engine: namespaces by ``bwrap``, the rest by util-linux and by watching."""

from __future__ import annotations

import json
import math
import os
import select
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from springtide.domain.errors import ComputeFailed, NotReady
from springtide.sandbox.attending import Chunks, attend
from springtide.sandbox.environments import BASE, TOP, Environments
from springtide.sandbox.measuring import bytes_resident, bytes_written, tree
from springtide.sandbox.seccomp import seccomp_filter
from springtide.sandbox.users import lent_user
from springtide.sandbox.workplace import OPEN_FILES, SHARED_MEMORY, SLACK, made_ready, variables

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from springtide.sandbox.seam import Cell, Ended, Limits, Reason

__all__ = ["Bubblewrap"]

NEEDED = {"bwrap": "bubblewrap", "prlimit": "util-linux", "setpriv": "util-linux", "taskset": "util-linux"}
KEPT = 4096  # bytes of what was printed, to say why it could not start


class Bubblewrap:
    """Runs cells with ``bwrap`` in the environments of a folder."""

    name = "bubblewrap"

    def __init__(self, environments: Environments) -> None:
        self._environments = environments

    @staticmethod
    def check() -> None:
        """Refuse where it cannot work.

        Raises
        ------
        NotReady
            Says what to install.
        """
        if missing := sorted({package for program, package in NEEDED.items() if shutil.which(program) is None}):
            raise NotReady(
                f"{' and '.join(missing)} is not installed",
                where="the bubblewrap sandbox",
                do=f"run `apt-get install {' '.join(missing)}`, or as your distribution does",
            )
        # with a /proc: in a container whose own has masked paths it cannot be mounted
        tried = subprocess.run(
            [*_walls(), "--proc", "/proc", "--", "true"], capture_output=True, text=True, check=False
        )
        if tried.returncode:
            raise NotReady(
                f"bubblewrap cannot make a sandbox: {tried.stderr.strip()[-300:]}",
                where="this machine",
                do="allow user namespaces to this user (in a container see docs/deploy.md), or use a container engine: "
                "Docker or podman",
            )

    def admit_foreign(self) -> None:
        """See `Engine.admit_foreign`: always."""

    def build(self, environment: str, requirements: str | None, on_line: Callable[[str], None]) -> str:
        """See `Engine.build`."""
        return self._environments.build(environment, requirements, on_line)

    def run(self, cell: Cell, limits: Limits, *, on_line: Callable[[str], None], stop: threading.Event) -> Ended:
        """See `Engine.run`."""
        with (
            self._environments.used(cell.environment, cell.requirements) as environments,
            lent_user() as user,
            made_ready(cell, user),
            _started(cell, limits, environments, user) as running,
        ):
            return attend(running, limits, on_line=on_line, stop=stop)


@contextmanager
def _started(cell: Cell, limits: Limits, environments: tuple[Path, ...], user: int) -> Iterator[_Running]:
    """Start it, and let nothing of it outlive the block."""
    with ExitStack() as left:
        filter_fd = os.memfd_create("seccomp")
        left.callback(os.close, filter_fd)
        os.write(filter_fd, seccomp_filter())
        os.lseek(filter_fd, 0, os.SEEK_SET)
        status, status_write = os.pipe()
        command = [
            *("taskset", "--cpu-list", _cores(limits.cpus, user)),
            *_walls(),
            *("--seccomp", str(filter_fd), "--json-status-fd", str(status_write)),
            *_furniture(cell, limits, environments),
            "--",
            *_without_rights(user),
            *("prlimit", f"--nproc={limits.processes}", f"--nofile={OPEN_FILES}", f"--fsize={limits.disk + SLACK}"),
            *("--core=0", "--memlock=0", "--msgqueue=0", "--"),
            *cell.command,
        ]
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(filter_fd, status_write),
                env={"PATH": os.environ.get("PATH", os.defpath)},
            )
        finally:
            os.close(status_write)
        left.enter_context(process)
        running = _Running(process, status, cell, limits)
        left.callback(running.release)
        left.callback(running.close)
        yield running


def _walls() -> list[str]:
    """Namespaces of its own; it dies with us, sees no terminal and no variable of ours."""
    options = ["bwrap", "--die-with-parent", "--new-session", "--clearenv", "--unshare-cgroup-try"]
    options += ["--unshare-ipc", "--unshare-net", "--unshare-pid", "--unshare-uts", "--hostname", "cell"]
    if os.geteuid() == 0:
        options += ["--cap-drop", "ALL"]
        for right in ("DAC_OVERRIDE", "SETUID", "SETGID", "SETPCAP"):  # to enter /work and become a user who has none
            options += ["--cap-add", f"CAP_{right}"]
    else:
        options += ["--unshare-user"]
    return [*options, *_system()]


def _system() -> list[str]:
    """Programs and libraries of the machine, read-only; of /etc only how libraries are found, of /sys the cores."""
    options: list[str] = []
    for place in ("/usr", sys.base_prefix):
        if place == "/usr" or not Path(place).is_relative_to("/usr"):
            options += _read_only(place, place)
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        top = Path("/", name)
        if top.is_symlink():
            options += ["--symlink", str(top.readlink()), str(top)]
        elif top.is_dir():
            options += _read_only(str(top), str(top))
    for place in ("/etc/ld.so.cache", "/etc/alternatives", "/sys/devices/system/cpu"):
        options += [*_folders(place), "--ro-bind-try", place, place]
    return options


def _furniture(cell: Cell, limits: Limits, environments: tuple[Path, ...]) -> list[str]:
    """What the cell sees beside the system; only /work and, in little, /dev/shm can be written."""
    options = ["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]
    options += ["--perms", "1777", "--size", str(SHARED_MEMORY), "--tmpfs", "/dev/shm"]  # noqa: S108 - its own
    for place, environment in zip((TOP,) if len(environments) == 1 else (BASE, TOP), environments, strict=True):
        options += _read_only(str(environment), str(place))
    for name, source in cell.inputs.items():
        options += _read_only(str(source), f"/in/{name}")
    options += ["--bind", str(cell.work), "/work", "--symlink", "/work/.tmp", "/tmp"]  # noqa: S108 - its own
    options += ["--remount-ro", "/", "--chdir", "/work"]
    for name, value in variables(limits, path=f"{TOP}/bin:/usr/bin:/bin").items():
        options += ["--setenv", name, value]
    return options


def _read_only(source: str, place: str) -> list[str]:
    return [*_folders(place), "--ro-bind", source, place]


def _folders(place: str) -> list[str]:
    """The folders above a place; made by themselves they would be closed to all but root."""
    above = [str(folder) for folder in reversed(Path(place).parents) if folder != Path("/")]
    return [word for folder in above for word in ("--perms", "0755", "--dir", folder)]


def _without_rights(user: int) -> list[str]:
    """Become the user of the cell; who is not root has no rights to lose."""
    if os.geteuid() != 0:
        return []
    become = ["setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups"]
    return [*become, "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--"]


def _cores(cpus: float, user: int) -> str:
    """So many of the cores that we may use, whole ones; cells of other users begin at other cores."""
    ours = sorted(os.sched_getaffinity(0))
    many = min(math.ceil(cpus), len(ours))
    return ",".join(str(ours[(user * many + number) % len(ours)]) for number in range(many))


class _Running:
    """A sandbox that was started; its first process is the init of a namespace, and all others go with it."""

    def __init__(self, process: subprocess.Popen[bytes], status: int, cell: Cell, limits: Limits) -> None:
        self._process, self._cell, self._limits = process, cell, limits
        self._status = os.fdopen(status)
        told = self._status.readline()
        self._init = int(json.loads(told)["child-pid"]) if told else None
        self._handle = os.pidfd_open(self._init) if self._init else None
        self._killed, self._newest = False, b""
        self.chunks = Chunks()
        self.chunks.follow(process, hear=self._hear)

    def _hear(self, chunk: bytes) -> None:
        self._newest = (self._newest + chunk)[-KEPT:]

    def memory(self) -> int:
        """See `Running.memory`."""
        return bytes_resident(self._pids(), enough=self._limits.memory)

    def disk(self) -> float:
        """See `Running.disk`."""
        return bytes_written(self._cell.work, self._pids())

    def _pids(self) -> list[int]:
        return tree(self._init) if self._init and self._process.poll() is None else []

    def close(self) -> None:
        """See `Running.close`: without its init a namespace ends, the kernel kills all others first.

        It is waited for also where ``bwrap`` has ended: that does not stay until what its command left has.
        """
        if self._handle is not None:
            self._killed = self._process.poll() is None
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
            ended = select.poll()
            ended.register(self._handle, select.POLLIN)
            ended.poll()
        self.chunks.stop()

    def end(self) -> tuple[int, Reason | None]:
        """See `Running.end`; ``bwrap`` tells the code of the command, unless it could not start it."""
        told = [json.loads(line) for line in self._status]
        codes = [one["exit-code"] for one in told if "exit-code" in one]
        if not codes and not self._killed:
            raise ComputeFailed(
                f"the sandbox could not be made: {self._newest.decode('utf-8', 'replace').strip()[-300:]}",
                where="bubblewrap",
                do="check that the inputs and the work folder are there, and the command",
            )
        return (codes[0] if codes else -signal.SIGKILL), None

    def release(self) -> None:
        """Let go of its files."""
        if self._handle is not None:
            os.close(self._handle)
        self._status.close()
