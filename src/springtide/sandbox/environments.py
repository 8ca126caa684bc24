"""Python environments for bubblewrap, made once: one for each framework, and small ones on top for scripts."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import secrets
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from springtide.domain.errors import NotReady, StoreFailed, did_you_mean
from springtide.sandbox.collecting import remove
from springtide.sandbox.installing import FRAMEWORK, LAYER, install, make_empty
from springtide.sandbox.measuring import bytes_written
from springtide.sandbox.requirements import digest, read_requirements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["BASE", "IMAGES", "TOP", "Environments", "pins"]

LOG = logging.getLogger("springtide.sandbox")
IMAGES = Path(__file__).parent / "images"
BASE, TOP = Path("/opt/base"), Path("/opt/env")  # where cells see the framework's environment, and the one on top of it
MOST_LAYERS, MOST_BYTES = 32, 20_000_000_000  # of packages that scripts want: whoever sends a job makes one
LAYERS_NAME = re.compile(r"[^.].*-[0-9a-f]{16}-[0-9a-f]{16}")


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
        for path in found:
            if not path.is_dir():
                raise _missing(path, environment)
        return found

    def build(self, environment: str, requirements: str | None, on_line: Callable[[str], None]) -> str:
        """Make what is not there; see `Engine.build`."""
        base, *layers = self.names(environment, requirements)
        packages = read_requirements(requirements or "")
        self._make_once(base, lambda folder: _fill(folder, pins(environment, self._images), on_line))
        for layer in layers:
            made = self._make_once(layer, lambda folder: _fill_on_top(folder, self._folder / base, packages, on_line))
            _touch(self._folder / layer)
            if made:
                self.sweep()
        return layers[0] if layers else base

    def _make_once(self, name: str, fill: Callable[[Path], None]) -> bool:
        """Whether it had to be made: one makes it, others wait; what one that died had half made is cleared away.

        Nobody waits for what is there, however long something else takes.
        """
        if (self._folder / name).is_dir():
            return False
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._locked(name, fcntl.LOCK_EX):
                self._clear(name)
                if (self._folder / name).is_dir():
                    return False
                with self._making(name) as folder:
                    fill(folder)
        except OSError as error:
            raise StoreFailed(
                f"an environment cannot be written: {error.strerror}",
                where=str(self._folder),
                do="name another folder as environments in section [sandbox], or make room",
            ) from error
        return True

    @contextmanager
    def _locked(self, name: str, how: int) -> Iterator[None]:
        with (self._folder / f".{name}.lock").open("w") as lock:
            fcntl.flock(lock, how)
            yield

    @contextmanager
    def _making(self, name: str) -> Iterator[Path]:
        """A folder that gets its name when it is whole, and goes where it does not get so far."""
        folder = Path(tempfile.mkdtemp(prefix=f".{name}.making-", dir=self._folder))
        folder.chmod(0o755)
        try:
            yield folder
            folder.rename(self._folder / name)
        finally:
            remove(folder)

    def _clear(self, name: str) -> None:
        for left in self._folder.glob(f".{name}.making-*"):
            remove(left)

    # What is kept

    @contextmanager
    def used(self, environment: str, requirements: str | None) -> Iterator[tuple[Path, ...]]:
        """Environments that are there, and stay there for as long as a cell uses them.

        Raises
        ------
        NotReady
            As `find`.
        """
        found = self.find(environment, requirements)
        if len(found) == 1:
            yield found
            return
        with _held(found[-1], fcntl.LOCK_SH) as held:
            if not held:  # it was discarded in this moment
                raise _missing(found[-1], environment)
            _touch(found[-1])
            yield found
            _touch(found[-1])

    def sweep(self) -> None:
        """Delete what processes that died have half made or half deleted, and layers beyond `MOST_LAYERS` and `MOST_BYTES`.

        Those go that were not used for longest; what is used or made at the moment stays, and so does the newest.
        """
        try:
            for name in {path.name[1:].partition(".making-")[0] for path in self._folder.glob(".*.making-*")}:
                with suppress(BlockingIOError), self._locked(name, fcntl.LOCK_EX | fcntl.LOCK_NB):
                    self._clear(name)
            for left in self._folder.glob(".*.discarded-*"):
                remove(left)
            room: float = MOST_BYTES
            for number, layer in enumerate(self._layers()):
                room -= bytes_written(layer, [])
                if number and (number >= MOST_LAYERS or room < 0):
                    self._discard(layer)
        except (OSError, StoreFailed) as error:
            LOG.warning("environments could not be cleared up, the next sweep tries again: %s", error)

    def _layers(self) -> list[Path]:
        """Those of scripts, the one that was used last first."""
        found = [path for path in self._folder.glob("*") if LAYERS_NAME.fullmatch(path.name) and path.is_dir()]
        return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)

    def _discard(self, layer: Path) -> None:
        with _held(layer, fcntl.LOCK_EX | fcntl.LOCK_NB) as held:
            if held:
                gone = layer.rename(self._folder / f".{layer.name}.discarded-{secrets.token_hex(4)}")  # at once
                remove(gone)


def _missing(path: Path, environment: str) -> NotReady:
    return NotReady(
        f"the environment {path.name} is not there",
        where=str(path.parent),
        do=f"run `springtide images build {environment}`",
    )


@contextmanager
def _held(folder: Path, how: int) -> Iterator[bool]:
    """A lock on a folder itself, which goes with this process; False where it is held otherwise, or not there."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(handle, how)
            held = os.path.samestat(os.fstat(handle), folder.stat())
        except (BlockingIOError, FileNotFoundError):
            held = False
        yield held
    finally:
        os.close(handle)


def _touch(layer: Path) -> None:
    """The time of a layer's folder is when it was last used; of one that somebody else made it stays."""
    with suppress(FileNotFoundError, PermissionError):
        os.utime(layer)


def _fill(folder: Path, pinned: str, on_line: Callable[[str], None]) -> None:
    make_empty(folder, on_line)
    (folder / "pins.txt").write_text(pinned, encoding="utf-8")
    install(folder, ["--requirement", str(folder / "pins.txt")], FRAMEWORK, on_line)


def _fill_on_top(folder: Path, base: Path, packages: tuple[str, ...], on_line: Callable[[str], None]) -> None:
    """An environment that sees all packages of `base`, and none of them in another version."""
    make_empty(folder, on_line)
    (folder / "wanted.txt").write_text("\n".join(packages) + "\n", encoding="utf-8")
    site = Path("lib", f"python{sys.version_info.major}.{sys.version_info.minor}", "site-packages")
    link = folder / site / "base.pth"
    link.write_text(f"{base / site}\n", encoding="utf-8")
    wanted = ["--requirement", str(folder / "wanted.txt"), "--constraint", str(base / "pins.txt")]
    install(folder, wanted, LAYER, on_line)
    link.write_text(f"{BASE / site}\n", encoding="utf-8")
