"""What a table is, stored with it: how its rows are named and how far apart they are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from springtide.domain.errors import BadRows
from springtide.domain.rows import KEY
from springtide.domain.units import format_span

if TYPE_CHECKING:
    from deltalake import DeltaTable

__all__ = ["Form", "check_same_form"]


@dataclass(frozen=True, slots=True)
class Form:
    """What a table is, stored with it: the columns that name a row, and the seconds from one row to the next."""

    key: tuple[str, ...] = KEY
    step_s: int | None = None

    @classmethod
    def of(cls, delta: DeltaTable) -> Self:
        """The form a table was created with; a table that others made has the usual key and no step."""
        try:
            stored = json.loads(delta.metadata().description or "{}")
        except json.JSONDecodeError:
            stored = {}
        return cls(tuple(stored["key"]), stored["step_s"]) if {"key", "step_s"} <= stored.keys() else cls()

    def describe(self) -> str:
        """The form as it is stored; Delta has no free properties, but a free description."""
        return json.dumps({"key": self.key, "step_s": self.step_s})


def check_same_form(stored: Form, wanted: Form, *, where: str) -> None:
    """Refuse to mix hours with minutes, or rows that are named otherwise, in one table."""
    if stored.step_s != wanted.step_s:
        raise BadRows(
            f"mixed timeframes: the table has {_spacing(stored.step_s)}, the incoming rows have {_spacing(wanted.step_s)}",
            where=where,
            do="write rows of another timeframe to a table of their own",
        )
    if stored.key != wanted.key:
        raise BadRows(
            f"the table's rows are named by {', '.join(stored.key)}, not by {', '.join(wanted.key)}",
            where=where,
            do="write rows with another key to a table of their own",
        )


def _spacing(step_s: int | None) -> str:
    return "no fixed step" if step_s is None else f"a row every {format_span(timedelta(seconds=step_s))}"
