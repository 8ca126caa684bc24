"""What stands beside the windows of a run: other series of the table, and rows of other tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from springtide.domain.errors import BadRows, Conflict, did_you_mean
from springtide.domain.rows import CANDLE_VALUES, PLAIN_VALUES, SERIES, TIME, Filter
from springtide.tasks.forecast.features.build import build_features
from springtide.tasks.forecast.features.check import check_features
from springtide.tasks.forecast.features.feature import batch_features, reach_of
from springtide.tasks.forecast.features.joining import join_driver, join_outside

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from springtide.tasks.forecast.features.spec import FeatureSpec, OutsideSpec
    from springtide.tasks.forecast.panel import Panel

__all__ = ["Features", "Surroundings", "columns_of", "outside_rows", "rows_of"]

CHECKED_SERIES = 3  # whose features are proven on real rows
CHECKED_REACHES = 4  # how many reaches of rows are enough for that


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Facts at each row of a panel: `values` (rows, k) float32, NaN where one is not known."""

    names: tuple[str, ...]
    groups: tuple[str, ...]
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """Other series on their grids, and the rows of other tables by table: whatever the features of a run read.

    `read` says which rows of each table were asked for; a series that was, and has no row, is not known.
    """

    drivers: Panel | None = None
    outside: Mapping[str, Mapping[str, NDArray[Any]]] = field(default_factory=dict)
    read: Mapping[str, Filter] = field(default_factory=dict)

    def features(self, spec: FeatureSpec, panel: Panel) -> Features:
        """The features of every row of `panel`.

        Raises
        ------
        UnsoundFeature
            If a feature reads rows after its own, or is not the same when served.
        Conflict
            If `spec` names a series, a table or a series of a table that this run does not read.
        """
        features = build_features(spec, step_s=panel.step_s, kind=panel.kind)
        parts = [np.zeros((0, len(features)), dtype=np.float32)]
        for index in range(len(panel.series)):
            frame = self._frame(spec, panel, index)
            if index < CHECKED_SERIES:
                check_features(features, frame.tail(CHECKED_REACHES * reach_of(features)))
            parts.append(batch_features(features, frame).astype(np.float32))
        return Features(
            tuple(one.name for one in features), tuple(one.group for one in features), np.concatenate(parts)
        )

    def _frame(self, spec: FeatureSpec, panel: Panel, index: int) -> pl.DataFrame:
        """One series on its grid, with what is joined to it."""
        here = slice(panel.bounds[index], panel.bounds[index + 1])
        seconds = panel.seconds[here]
        channels = CANDLE_VALUES if panel.kind == "candles" else PLAIN_VALUES
        columns: dict[str, NDArray[Any]] = {TIME: seconds}
        columns |= {name: panel.values[here, place] for place, name in enumerate(channels)}
        for driver in spec.drivers:
            columns |= self._driver(driver, seconds)
        for name, outside in spec.outside.items():
            rows = self._outside(outside, panel.series[index])
            columns |= join_outside(seconds, rows, name, outside, step_s=panel.step_s)
        return pl.DataFrame(columns)

    def _driver(self, driver: str, seconds: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        panel = self.drivers
        if panel is None or driver not in panel.series:
            raise Conflict(
                f"its features need the series {driver}, of which there are no rows here",
                where="features.drivers",
                do="name the series in the model's settings as well, or retrain from scratch",
            )
        index = panel.series.index(driver)
        here = slice(panel.bounds[index], panel.bounds[index + 1])
        return join_driver(
            seconds, driver, driver_seconds=panel.seconds[here], values=panel.target[here], filled=panel.filled[here]
        )

    def _outside(self, spec: OutsideSpec, series: str) -> dict[str, NDArray[Any]]:
        if spec.table not in self.outside:
            raise Conflict(
                f"its features need the table {spec.table}, which this run does not read",
                where="features.outside",
                do="name the table in the model's settings as well, or retrain from scratch",
            )
        name, read = spec.series_of(series), self.read.get(spec.table, Filter()).series
        if name is not None and read and name not in read:
            raise Conflict(
                f"its features need {name} of table {spec.table}, of which this run reads {', '.join(read)}",
                where="features.outside",
                do="name the series in the model's settings as well, or retrain from scratch",
            )
        return rows_of(self.outside[spec.table], spec, series)


def rows_of(columns: Mapping[str, NDArray[Any]], spec: OutsideSpec, series: str) -> dict[str, NDArray[Any]]:
    """The outside rows that belong to `series`, in time order; none where the settings or the rows have none."""
    name = spec.series_of(series)
    if name is None or not columns:
        return {TIME: np.zeros(0, dtype=np.int64), **{column: np.zeros(0) for column in spec.columns}}
    if missing := sorted(set(spec.columns) - columns.keys()):
        raise BadRows(
            f"table {spec.table} has no column of numbers {missing[0]!r}",
            where="features.outside",
            do=did_you_mean(missing[0], columns.keys() - {SERIES, TIME}),
        )
    mine = np.flatnonzero(columns[SERIES] == name)
    mine = mine[np.argsort(columns[TIME][mine], kind="stable")]
    return {column: columns[column][mine] for column in (TIME, *spec.columns)}


def columns_of(rows: pl.LazyFrame) -> dict[str, NDArray[Any]]:
    """Rows of another table as arrays: ``unique_id``, ``ds`` in seconds since 1970 UTC, numbers as float64."""
    numbers = [name for name, kind in rows.collect_schema().items() if kind.is_numeric()]
    frame = rows.select(SERIES, pl.col(TIME).dt.epoch("s"), pl.col(numbers).cast(pl.Float64)).collect()
    return {name: frame[name].to_numpy() for name in frame.columns} | {SERIES: np.array(frame[SERIES], dtype=np.str_)}


def outside_rows(spec: FeatureSpec, series: Sequence[str]) -> dict[str, Filter]:
    """Which rows of which other tables the features of these series read (of any series when none is named)."""
    wanted: dict[str, Filter] = {}
    for one in spec.outside.values():
        if isinstance(one.series, str):
            names: tuple[str, ...] = (one.series,)
        else:
            names = tuple(name for each in series if (name := one.series_of(each)) is not None)
        before = wanted.get(one.table)
        everything = not names or (before is not None and not before.series)
        known = before.series if before is not None else ()
        wanted[one.table] = Filter() if everything else Filter(series=tuple(dict.fromkeys((*known, *names))))
    return wanted
