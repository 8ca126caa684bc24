"""Python environments for bubblewrap, made once: one for each framework, and small ones on top for scripts."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from springtide.domain.errors import ComputeFailed, NotReady, StoreFailed, did_you_mean
from springtide.sandbox.requirements import digest, read_requirements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["BASE", "IMAGES", "TOP", "Environments", "pins"]

IMAGES = Path(__file__).parent / "images"
BASE, TOP = Path("/opt/base"), Path("/opt/env")  # where cells see the framework's environment, and the one on top of it


def pins(environment: str, images: Path = IMAGES) -> str:
    """The pinned packages of an environment.

    Raises
    ------
    NotReady
        If there is no such environment.
    """
    known = sorted(path.parent.name for path in images.glob("*/requirements.txt"))
    if environment not in known:
        raise NotReady(
            f"there is no environment {environment!r}", where="the sandbox", do=did_you_mean(environment, known)
        )
    return (images / environment / "requirements.txt").read_text(encoding="utf-8")


class Environments:
    """Environments in a folder, each named by what it is made of; one that is there is whole.

    Parameters
    ----------
    folder : Path
        Where they are kept.
    images : Path
        A folder with the ``requirements.txt`` of each environment.
    """

    def __init__(self, folder: Path, images: Path = IMAGES) -> None:
        self._folder, self._images = folder, images

    def names(self, environment: str, requirements: str | None) -> tuple[str, ...]:
        """The folders that a cell needs: the framework's, and one on top where a script wants more packages."""
        pinned = pins(environment, self._images)
        base = f"{environment}-{digest(pinned, sys.version, sys.base_prefix)}"
        extra = read_requirements(requirements or "")
        return (base, f"{base}-{digest(*extra)}") if extra else (base,)

    def find(self, environment: str, requirements: str | None) -> tuple[Path, ...]:
        """Environments that are there.

        Raises
        ------
        NotReady
            If one is not, with the command that makes it.
        """
        found = tuple(self._folder / name for name in self.names(environment, requirements))
        if missing := [path for path in found if not path.is_dir()]:
            raise NotReady(
                f"the environment {missing[0].name} is not there",
                where=str(self._folder),
                do=f"run `springtide images build {environment}`",
            )
        return found

    def build(self, environment: str, requirements: str | None, on_line: Callable[[str], None]) -> str:
        """Make what is not there; see `Engine.build`."""
        base, *layers = self.names(environment, requirements)
        with self._locked(base):
            if not (self._folder / base).is_dir():
                self._make_base(base, pins(environment, self._images), on_line)
            for layer in layers:
                if not (self._folder / layer).is_dir():
                    self._make_layer(self._folder / base, layer, read_requirements(requirements or ""), on_line)
        return layers[0] if layers else base

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """One builds, others wait; what was half made by one that died is cleared away."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / f".{name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                for left in self._folder.glob(f".{name}.making-*"):
                    shutil.rmtree(left)
                yield
        except OSError as error:
            raise StoreFailed(
                f"an environment cannot be written: {error.strerror}",
                where=str(self._folder),
                do="name another folder as environments in section [sandbox], or make room",
            ) from error

    def _make_base(self, name: str, pinned: str, on_line: Callable[[str], None]) -> None:
        with self._making(name, name) as folder:
            _make_empty(folder, on_line)
            (folder / "pins.txt").write_text(pinned, encoding="utf-8")
            _install(folder, ["--requirement", str(folder / "pins.txt")], on_line)

    def _make_layer(self, base: Path, name: str, packages: tuple[str, ...], on_line: Callable[[str], None]) -> None:
        """An environment that sees all packages of `base`, and none of them in another version."""
        with self._making(base.name, name) as folder:
            _make_empty(folder, on_line)
            (folder / "wanted.txt").write_text("\n".join(packages) + "\n", encoding="utf-8")
            site = Path("lib", f"python{sys.version_info.major}.{sys.version_info.minor}", "site-packages")
            link = folder / site / "base.pth"
            link.write_text(f"{base / site}\n", encoding="utf-8")
            wanted = ["--requirement", str(folder / "wanted.txt"), "--constraint", str(base / "pins.txt")]
            _install(folder, wanted, on_line)
            link.write_text(f"{BASE / site}\n", encoding="utf-8")

    @contextmanager
    def _making(self, base: str, name: str) -> Iterator[Path]:
        """A folder that gets its name when it is whole."""
        folder = Path(tempfile.mkdtemp(prefix=f".{base}.making-", dir=self._folder))
        folder.chmod(0o755)
        yield folder
        folder.rename(self._folder / name)


def _make_empty(folder: Path, on_line: Callable[[str], None]) -> None:
    """Of the interpreter below any virtual environment of ours."""
    python = str(getattr(sys, "_base_executable", sys.executable))
    _run([python, "-m", "venv", "--without-pip", str(folder)], on_line)


def _install(folder: Path, wanted: list[str], on_line: Callable[[str], None]) -> None:
    """With the pip beside us; only wheels: they are unpacked, nothing of theirs is run."""
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]
    _run([*pip, "install", "--no-cache-dir", "--no-input", "--only-binary", ":all:", *wanted], on_line)


def _run(command: list[str], on_line: Callable[[str], None]) -> None:
    errors: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            on_line(line.rstrip())
            if line.startswith("ERROR:"):
                errors.append(line.removeprefix("ERROR:").strip())
    if process.returncode:
        raise ComputeFailed(
            f"packages cannot be installed: {'; '.join(errors)[:500] or command[1:4]}",
            where="the build of an environment",
            do="check names and versions, and that the package index can be reached",
        )
