"""Where the cutoff stands in the day, the week, the month and the year (UTC)."""

from __future__ import annotations

import calendar
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import polars as pl

from springtide.tasks.forecast.features.feature import Columns, Feature

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["build_calendar"]

GROUP = "calendar"
DAY_S = 86_400

_SECONDS = pl.col("ds")
_MOMENT = pl.from_epoch(_SECONDS, time_unit="s")


def _month_length(moment: datetime) -> int:
    return calendar.monthrange(moment.year, moment.month)[1]


# name, turns of the circle at every row, turns at a moment
CIRCLES: tuple[tuple[str, pl.Expr, Callable[[datetime], float]], ...] = (
    (
        "hour",
        (_SECONDS % DAY_S) / DAY_S,
        lambda moment: (moment.hour * 3600 + moment.minute * 60 + moment.second) / DAY_S,
    ),
    ("weekday", (_MOMENT.dt.weekday() - 1) / 7, lambda moment: moment.weekday() / 7),
    (
        "monthday",
        (_MOMENT.dt.day() - 1) / _MOMENT.dt.days_in_month(),
        lambda moment: (moment.day - 1) / _month_length(moment),
    ),
    ("week", (_MOMENT.dt.week() - 1) / 52, lambda moment: (moment.isocalendar().week - 1) / 52),
    ("month", (_MOMENT.dt.month() - 1) / 12, lambda moment: (moment.month - 1) / 12),
)


def build_calendar(*, step_s: int) -> list[Feature]:
    """Sine and cosine of the hour (for steps below a day), weekday, day of the month, ISO week and month; turn of month.

    The turn of the month is its last day and the first three of the next one.

    Notes
    -----
    Source of the last: Lakonishok & Smidt 1988, Review of Financial Studies 1(4), doi:10.1093/rfs/1.4.403; here calendar
    days, because markets of cryptocurrencies do not close.
    """
    features = []
    for name, turns, turns_at in CIRCLES if step_s < DAY_S else CIRCLES[1:]:
        angle = turns * 2 * math.pi
        features += [
            Feature(f"{name}_sin", GROUP, 1, angle.sin(), _wave(math.sin, turns_at)),
            Feature(f"{name}_cos", GROUP, 1, angle.cos(), _wave(math.cos, turns_at)),
        ]
    day = _MOMENT.dt.day()
    turn = ((day <= 3) | (day == _MOMENT.dt.days_in_month())).cast(pl.Float64)
    return [*features, Feature("turn_of_month", GROUP, 1, turn, _turn_of_month)]


def _wave(function: Callable[[float], float], turns_at: Callable[[datetime], float]) -> Callable[[Columns], float]:
    return lambda columns: function(turns_at(_cutoff(columns)) * 2 * math.pi)


def _turn_of_month(columns: Columns) -> float:
    moment = _cutoff(columns)
    return float(moment.day <= 3 or moment.day == _month_length(moment))


def _cutoff(columns: Columns) -> datetime:
    return datetime.fromtimestamp(int(columns["ds"][-1]), tz=UTC)
