"""Where the fits of tests keep their checkpoints: in memory, or in a file that outlives its process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class InMemory:
    """Keeps all that was ever saved; a fit begins with the last."""

    saved: list[bytes] = field(default_factory=list)

    def load(self) -> bytes | None:
        return self.saved[-1] if self.saved else None

    def save(self, data: bytes) -> None:
        self.saved.append(data)


@dataclass(frozen=True)
class InFile:
    """One file, replaced at once."""

    path: Path

    def load(self) -> bytes | None:
        return self.path.read_bytes() if self.path.exists() else None

    def save(self, data: bytes) -> None:
        beside = self.path.with_suffix(".new")
        beside.write_bytes(data)
        beside.replace(self.path)
