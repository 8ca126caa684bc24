"""What starts a run by itself: what each trigger has seen so far, and what is worth telling."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = ["Finding", "TriggerState"]


@dataclass(frozen=True, slots=True)
class TriggerState:
    """What one kind of trigger of a model, or a source, has seen until `at`; `facts` are plain JSON of that kind."""

    subject: str
    kind: str
    at: datetime
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something people may want to hear of: ``source_silent``, ``source_speaks``, ``source_failed``.

    `id` is the same when the same finding is told again after a crash.
    """

    kind: str
    subject: str
    what: str
    at: datetime
    id: str
