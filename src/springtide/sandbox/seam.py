"""What every engine takes and gives back: a cell with its limits, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["ENVIRONMENTS", "Cell", "Ended", "Engine", "Limits", "Reason"]

ENVIRONMENTS = ("boosting", "pytorch", "tensorflow")

Reason = Literal["finished", "failed", "out of memory", "out of time", "too much output", "disk full", "stopped"]
"""``failed`` is a code other than 0 that the command itself ended with."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What all processes of a cell may use together."""

    memory: int  # bytes
    cpus: float  # cores
    processes: int  # threads count too
    disk: int  # bytes in the work folder
    seconds: float
    output: int  # bytes printed; a line counts as 32 at least


@dataclass(frozen=True, slots=True)
class Cell:
    """A command, what it sees, and the one folder that it may write.

    Parameters
    ----------
    environment : str
        One of `ENVIRONMENTS`.
    command : tuple of str
        ``python`` is the environment's own.
    work : Path
        A folder of this cell alone, seen as ``/work``; temporary files go to its folder ``.tmp``.
    inputs : mapping of str to Path
        Files and folders, seen read-only as ``/in/NAME``. Where cells run under another user than this process,
        everybody must be allowed to read them; the folders above them do not matter.
    requirements : str or None
        The text of a requirements.txt that `Engine.build` was asked for before.
    """

    environment: str
    command: tuple[str, ...]
    work: Path
    inputs: Mapping[str, Path]
    requirements: str | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a cell ended, when nothing of it lives any more.

    `peak_memory` (bytes) is the most that was seen, 20 times a second; `tail` is the end of what was printed.
    """

    reason: Reason
    code: int | None
    seconds: float
    peak_memory: int
    tail: str


class Engine(Protocol):
    """Runs cells."""

    @property
    def name(self) -> str:
        """``container``, ``bubblewrap`` or ``plain``."""

    def admit_foreign(self) -> None:
        """Refuse to run what others have written, where there are no walls around it.

        Raises
        ------
        NotReady
            Says what to install.
        """

    def build(self, environment: str, requirements: str | None, on_line: Callable[[str], None]) -> str:
        """Make an environment, unless it is there, and give its name; `on_line` hears how it goes on.

        Raises
        ------
        SettingsError
            If `requirements` ask for anything but packages by name.
        ComputeFailed
            If a package is not to be had, or not together with the environment's own.
        """

    def run(self, cell: Cell, limits: Limits, *, on_line: Callable[[str], None], stop: threading.Event) -> Ended:
        """Run the command until it ends, passes a limit or is stopped; `on_line` hears each line as it is printed.

        Raises
        ------
        NotReady
            If the environment has not been built.
        ComputeFailed
            If the engine itself fails; what the command does is told by `Ended`.
        """
