"""What stood in another table when the forecast was made; worked out by `joining.join_outside`, read here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from springtide.tasks.forecast.features.feature import Columns, Feature
from springtide.tasks.forecast.features.joining import outside_columns

if TYPE_CHECKING:
    from collections.abc import Callable

    from springtide.tasks.forecast.features.spec import OutsideSpec

__all__ = ["build_outside"]


def build_outside(name: str, spec: OutsideSpec) -> list[Feature]:
    """The joined columns of one outside table: values, changes, means and ages."""
    return [
        Feature(column, f"outside {name}", 1, pl.col(column), _last(column))
        for source in spec.columns
        for column in outside_columns(name, source)
    ]


def _last(column: str) -> Callable[[Columns], float]:
    return lambda columns: float(columns[column][-1])
