"""Cells with hostile scripts, and what of them is left."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from springtide.sandbox.seam import Cell, Limits
from springtide.sandbox.users import FIRST, MANY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from springtide.sandbox.seam import Ended, Engine

__all__ = ["ROOMY", "TIGHT", "Tried", "attempt", "survivors"]

ROOMY = Limits(memory=500_000_000, cpus=2, processes=64, disk=50_000_000, seconds=20, output=1_000_000)
TIGHT = Limits(memory=200_000_000, cpus=2, processes=32, disk=5_000_000, seconds=2, output=1_000_000)


@dataclass(frozen=True, slots=True)
class Tried:
    """How a script ended, what it said, and when that was noticed."""

    ended: Ended
    lines: list[str] = field(default_factory=list)
    seconds: float = 0.0


def attempt(
    engine: Engine,
    work: Path,
    script: str,
    *,
    limits: Limits = ROOMY,
    inputs: Mapping[str, Path] | None = None,
    environment: str = "bare",
    stop: threading.Event | None = None,
) -> Tried:
    """Run a script of Python in a cell."""
    lines: list[str] = []
    cell = Cell(environment, ("python", "-c", script), work, inputs or {})
    began = time.monotonic()
    ended = engine.run(cell, limits, on_line=lines.append, stop=stop or threading.Event())
    return Tried(ended, lines, time.monotonic() - began)


def survivors(work: Path) -> list[str]:
    """Processes of cells that see this work folder and live."""
    found = []
    for process in psutil.process_iter(["uids", "cmdline"]):
        uids = process.info["uids"]
        if uids and FIRST <= uids.real < FIRST + MANY:
            with suppress(OSError):
                if str(work) in Path(f"/proc/{process.pid}/mountinfo").read_text(encoding="utf-8"):
                    found.append(f"{process.pid} {process.info['cmdline']}")
    return found
