"""What a search has found for a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = ["FoundRecipe"]


@dataclass(frozen=True, slots=True)
class FoundRecipe:
    """The outcome of the newest search of a model.

    `changes` are the keys in which it differs from the declared recipe; empty where the declared one stayed.
    `declared` tells which settings were declared then, `seen_until` the end of all that the search was judged on.
    """

    model: str
    found: datetime
    changes: Mapping[str, Any]
    declared: str
    seen_until: datetime
    facts: Mapping[str, Any] = field(default_factory=dict)  # plain JSON: trials, gain, p-value, reason
