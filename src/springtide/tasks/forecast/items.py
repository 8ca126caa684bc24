"""Which windows are learned from and which are judged: in time order, purged by the horizon."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from springtide.domain.errors import BadRows, Leak, TooFewRows
from springtide.domain.rows import SERIES
from springtide.domain.units import format_span, steps_per_day
from springtide.tasks.forecast.panel import Panel, build_panel
from springtide.tasks.forecast.surroundings import Features, Surroundings, columns_of, outside_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from springtide.tasks.forecast.recipe import ForecastRecipe

__all__ = ["Windows", "season_of", "split"]

MOST_FILLED = 0.1  # share of a window's rows that may be filled-in gaps


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """The items of one run: rows of the panel at which a forecast is made (the cutoffs).

    An item at row ``p`` sees the rows ``p - window + 1 .. p`` and is asked for ``p + 1 .. p + horizon``.
    """

    panel: Panel
    recipe: ForecastRecipe
    season: int
    features: Features
    surroundings: Surroundings
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    judging: NDArray[np.int64]
    judged_from: datetime
    trained_until: datetime
    facts: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Refuse parts that share an outcome, however they came about."""
        reach = self.recipe.horizon * self.panel.step_s
        judged_s = int(self.judged_from.timestamp())
        parts = {"training": self.train, "validation": self.validation}
        ends = {"training": int(self.panel.seconds[self.validation].min(initial=judged_s)), "validation": judged_s}
        for name, items in parts.items():
            late = items[self.panel.seconds[items] + reach > ends[name]]
            if len(late):
                first = late[np.argmax(self.panel.seconds[late])]
                raise Leak(
                    f"{len(late)} of {len(items)} {name} items have outcomes that come later than {_moment(ends[name]):%Y-%m-%d %H:%M}, "
                    f"where the next part begins (one is predicted at {_moment(int(self.panel.seconds[first])):%Y-%m-%d %H:%M})",
                    where=f"series {self.panel.series[self.panel.owner[first]]}",
                    do="cut the parts in time order, a horizon apart; a shuffled split lets a model see what it is judged on",
                )

    def outcomes(self, items: NDArray[np.int64]) -> NDArray[np.float64]:
        """(n, horizon) float64: what came after each item, in the unit of the target."""
        values: NDArray[np.float64] = self.panel.target[items[:, None] + np.arange(1, self.recipe.horizon + 1)]
        return values


def season_of(recipe: ForecastRecipe, step_s: int) -> int:
    """Steps of one season: as given, else a day; a week for daily rows; 1 for anything coarser."""
    if recipe.season is not None:
        return recipe.season
    return steps_per_day(step_s) if step_s < 86_400 else max(1, 604_800 // step_s)


def split(
    rows: pl.LazyFrame,
    recipe: ForecastRecipe,
    *,
    judged_from: datetime,
    judged_until: datetime | None = None,
    outside: Mapping[str, pl.LazyFrame] = MappingProxyType({}),
) -> Windows:
    """Cut history into training, validation and judging items.

    No outcome of one part is an outcome of another: validation ends a horizon before the first judging item,
    training a horizon before the first validation item.

    Parameters
    ----------
    rows : LazyFrame
        Rows of the chosen series.
    recipe : ForecastRecipe
        Window, horizon and spans.
    judged_from : datetime
        Judging items are predicted at this time or later; no training or validation outcome comes after it.
    judged_until : datetime, optional
        Judging items are predicted before this time; their outcomes may come later.

    Raises
    ------
    TooFewRows
        If a part would be empty; says how many rows there are and how many are needed.
    BadRows
        If a price never changes, or is not a number.
    """
    panel, surroundings = _read(rows, recipe, outside)
    _check_values(panel, recipe)
    usable, dropped = _usable(panel, recipe)
    features = surroundings.features(recipe.features, panel)
    times = panel.seconds[usable]
    reach = recipe.horizon * panel.step_s  # from a cutoff to its last outcome
    judged_s = int(judged_from.timestamp())
    validated_from = judged_s - reach - int(recipe.validation.total_seconds())
    trained_from = -np.inf
    if recipe.train_period is not None:
        trained_from = validated_from - reach - recipe.train_period.total_seconds()
    train = usable[(times <= validated_from - reach) & (times >= trained_from)]
    validation = usable[(times >= validated_from) & (times <= judged_s - reach)]
    judged = (times >= judged_s) & ((times // panel.step_s) % recipe.stride == 0)
    if judged_until is not None:
        judged &= times < judged_until.timestamp()
    judging = usable[judged]
    _check_parts(panel, recipe, judged_from, {"training": train, "validation": validation, "judging": judging})
    return Windows(
        panel=panel,
        recipe=recipe,
        season=season_of(recipe, panel.step_s),
        features=features,
        surroundings=surroundings,
        train=train,
        validation=validation,
        judging=judging,
        judged_from=judged_from,
        trained_until=_moment(int(panel.seconds[validation].max()) + reach),
        facts={
            "series": len(panel.series),
            "rows": len(panel.seconds),
            "filled_rows": int(panel.filled.sum()),
            "features": len(features.names),
            "training_items": len(train),
            "validation_items": len(validation),
            "judging_items": len(judging),
            "items_left_out_at_gaps": dropped,
        },
    )


def _read(
    rows: pl.LazyFrame, recipe: ForecastRecipe, outside: Mapping[str, pl.LazyFrame]
) -> tuple[Panel, Surroundings]:
    """The series to forecast, and what their features read beside them."""
    drivers = recipe.features.drivers
    mine = rows.filter(pl.col(SERIES).is_in(recipe.series)) if recipe.series else rows
    panel = build_panel(mine, logarithmic=recipe.logarithmic)
    others = build_panel(rows.filter(pl.col(SERIES).is_in(drivers)), step_s=panel.step_s) if drivers else None
    tables = {name: columns_of(frame) for name, frame in outside.items()}
    return panel, Surroundings(others, tables, read=outside_rows(recipe.features, recipe.series))


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)


def _usable(panel: Panel, recipe: ForecastRecipe) -> tuple[NDArray[np.int64], int]:
    """Rows with a whole window before and a whole, really observed horizon after them; and how many gaps cost."""
    rows = np.arange(len(panel.seconds))
    start, stop = panel.bounds[panel.owner], panel.bounds[panel.owner + 1]
    whole = (rows - recipe.window + 1 >= start) & (rows + recipe.horizon < stop)
    gaps = np.concatenate([[0], np.cumsum(panel.filled)])
    inside = rows[whole]
    filled_before = gaps[inside + 1] - gaps[inside + 1 - recipe.window]
    filled_after = gaps[inside + 1 + recipe.horizon] - gaps[inside + 1]
    good = (filled_after == 0) & (filled_before <= MOST_FILLED * recipe.window)
    return inside[good], int((~good).sum())


def _check_values(panel: Panel, recipe: ForecastRecipe) -> None:
    if recipe.series and (absent := sorted(set(recipe.series) - set(panel.series))):
        raise TooFewRows(
            f"no rows of {', '.join(absent)}",
            where=f"series of the table: {', '.join(panel.series[:10])}",
            do="ingest them, or change `series`",
        )
    for index, name in enumerate(panel.series):
        target = panel.target[panel.bounds[index] : panel.bounds[index + 1]]
        if len(target) > recipe.window and np.all(target == target[0]):
            raise BadRows(
                f"the value never changes ({target[0]:g} in {len(target)} rows)",
                where=f"series {name}",
                do="leave the series out of `series`",
            )


def _check_parts(
    panel: Panel, recipe: ForecastRecipe, judged_from: datetime, parts: Mapping[str, NDArray[np.int64]]
) -> None:
    """Refuse an empty part, and say what would be enough."""
    empty = [name for name, items in parts.items() if len(items) == 0]
    if not empty:
        return
    longest = int(np.diff(panel.bounds).max())
    validated = int(recipe.validation.total_seconds()) // panel.step_s
    needed = validated + recipe.window + 3 * recipe.horizon + 1
    raise TooFewRows(
        f"no {empty[0]} item is left: the longest of {len(panel.series)} series has {longest} rows; "
        f"about {needed} are needed before {judged_from:%Y-%m-%d %H:%M} and {recipe.window + recipe.horizon} in all after it",
        where=f"window {recipe.window}, horizon {recipe.horizon}, validation {format_span(recipe.validation)}, "
        f"judging from {judged_from:%Y-%m-%d %H:%M}",
        do="ingest more history, or make `window`, `horizon`, `validation` or `gate.judge` smaller",
    )
