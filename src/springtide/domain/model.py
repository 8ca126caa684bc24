"""A model's versions, and the journal of who served when."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from springtide.domain.rows import Snapshot
    from springtide.domain.verdict import Verdict

__all__ = ["JournalEntry", "Manifest", "Version"]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What stands beside every exported model: all that is needed to trace it, serve it and check it.

    `outside` holds the snapshots of further tables. `files` maps a file name to the SHA-256 of its bytes. `signature`, `metrics` and `recipe` belong to the
    task and are plain JSON. `settings` are the other settings of the run (seed, budget, start, gate), `environment` the
    versions, the machine and the threads that it ran with; both are empty where they were not recorded yet.
    """

    model: str
    task: str
    run: str
    created: datetime
    code: str
    snapshot: Snapshot
    recipe: Mapping[str, Any]
    signature: Mapping[str, Any]
    metrics: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)
    trained_until: datetime | None = None  # the latest outcome that training or validation saw
    outside: tuple[Snapshot, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Version:
    """One immutable version of a model."""

    model: str
    number: int
    manifest: Manifest
    verdict: Verdict

    @property
    def name(self) -> str:
        """``btc@3``."""
        return f"{self.model}@{self.number}"


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One line of the journal: append-only, numbered from 1 within a model.

    `serving` is the version that serves after this entry (None: none yet), `previous` the one before it.
    `version` is the one the entry is about.
    """

    model: str
    number: int
    at: datetime
    action: Literal["promote", "keep", "rollback"]
    version: int
    previous: int | None
    serving: int | None
    run: str | None
    by: str
    reason: str
    warning: str | None = None
