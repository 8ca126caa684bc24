"""What a version says of times whose outcomes are known by now: for pictures, marked where it had seen them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from springtide.domain.errors import TooFewRows
from springtide.domain.rows import SERIES, TIME
from springtide.serving.rows import read_newest

if TYPE_CHECKING:
    import polars as pl

    from springtide.lake.table import Table
    from springtide.lake.tables import Lake
    from springtide.serving.live import Model

__all__ = ["Hindcast", "hindcasts", "newest_rows"]


@dataclass(frozen=True, slots=True)
class Hindcast:
    """A forecast from the rows up to a past time.

    `unseen` says that its outcomes came after all that the version was trained on: only then is it a fair picture.
    """

    cutoff: datetime
    columns: dict[str, list[Any]]
    unseen: bool


def newest_rows(table: Table, model: Model, series: str, *, steps: int) -> pl.DataFrame:
    """The newest rows of one series, sorted by time."""
    return table.newest(replace(model.want.filter, series=(series,)), steps=steps)


def hindcasts(lake: Lake, table: str, model: Model, series: str, *, count: int) -> list[Hindcast]:
    """Forecasts of `series` made at the last `count` times whose outcomes are all known, a horizon apart, oldest first.

    Each sees only rows up to its own cutoff; earlier ones are left out where there are not enough rows.
    """
    step = timedelta(seconds=int(model.signature["step_s"]))
    horizon = int(model.signature["horizon"])
    want = model.want
    last: datetime = newest_rows(lake.table(table), model, series, steps=1)[TIME][0]
    found = []
    for back in range(1, count + 1):
        cutoff = last - back * horizon * step
        rows = read_newest(lake.table, table, want, until=cutoff + step)
        if series not in rows.columns[SERIES]:
            break
        try:
            answer = model.predict(rows.columns, series=(series,), outside=rows.outside)
        except TooFewRows:
            break  # history is shorter than the picture that was asked for
        until = model.version.manifest.trained_until
        found.append(Hindcast(cutoff, answer.columns, until is not None and cutoff >= until))
    return found[::-1]
