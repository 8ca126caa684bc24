"""What a place said to a notice."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Answer"]


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether a notice has arrived, in words without a secret; `silent`: the place did not answer at all."""

    delivered: bool
    words: str
    silent: bool = False
