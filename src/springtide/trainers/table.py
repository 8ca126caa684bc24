"""The rows of a table as arrays: one array a column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from springtide.sdk import Refusal
from springtide.trainers.labels import label, level

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from springtide.trainers.task import Column, Task

__all__ = ["Arrays", "arrays_of", "in_order", "read_rows", "read_target"]

Arrays = dict[str, "NDArray[Any]"]  # number: float64 with NaN; category: labels or None; date: datetime64[us] with NaT


def read_rows(path: Path, wanted: Iterable[str]) -> pd.DataFrame:
    """Read a Parquet file that has the `wanted` columns.

    Raises
    ------
    Refusal
        It is no Parquet file, has no rows, or misses a column.
    """
    try:
        rows = pd.read_parquet(path, engine="pyarrow")
    except (OSError, ValueError) as error:
        raise Refusal(
            f"cannot be read as Parquet: {error!s:.200}", where=path.name, do="send the rows again"
        ) from error
    missing = [name for name in wanted if name not in rows.columns]
    if missing:
        have = ", ".join(map(str, rows.columns[:20]))
        raise Refusal(f"no columns {missing}", where=path.name, do=f"send them; the rows have {have}")
    if rows.empty:
        raise Refusal("no rows", where=path.name, do="send rows")
    return rows


def arrays_of(rows: pd.DataFrame, columns: Sequence[Column]) -> Arrays:
    """The columns as arrays, each of its kind.

    Raises
    ------
    Refusal
        A column holds something else than its kind.
    """
    return {column.name: _array(rows[column.name], column) for column in columns}


def in_order(rows: pd.DataFrame, task: Task) -> pd.DataFrame:
    """The rows in the order of their time; as they came where there is none."""
    return rows if task.time is None else rows.sort_values(task.time, kind="stable", ignore_index=True)


def read_target(
    rows: pd.DataFrame, task: Task, classes: tuple[str, ...] | None
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """The target of the training rows, and its classes (none for a regression).

    Parameters
    ----------
    rows : DataFrame
        The training rows.
    task : Task
        Names the target.
    classes : tuple of str, optional
        Those that the model knows, in its order; the labels of the rows where there are none yet.

    Returns
    -------
    (n,) float64 or int64
        Numbers, or the places of the rows' classes.
    tuple of str
        The classes.

    Raises
    ------
    Refusal
        A target is missing, infinite or no number; a class is unknown; there are too few or too many classes.
    """
    values = rows[task.target]
    where = f"column {task.target!r}"
    if values.isna().any():
        raise Refusal(f"{int(values.isna().sum())} rows have no target", where=where, do="leave these rows out")
    if task.question == "regression":
        numbers = _numbers(values, where)
        if not np.isfinite(numbers).all():
            raise Refusal("some targets are infinite", where=where, do="leave these rows out")
        return numbers, ()
    labels = values.map(label)
    classes = classes or tuple(sorted(set(labels)))
    _check_classes(labels, classes, task, where)
    places = {name: place for place, name in enumerate(classes)}
    return labels.map(places).to_numpy(np.int64), classes


def _check_classes(labels: pd.Series, classes: tuple[str, ...], task: Task, where: str) -> None:
    unknown = sorted(set(labels) - set(classes))
    if unknown:
        raise Refusal(
            f"classes that the model does not know: {', '.join(unknown[:5])}",
            where=where,
            do="leave these rows out, or train from scratch",
        )
    if len(classes) < 2 or labels.nunique() < 2:
        raise Refusal(f"all rows have one class: {labels.iloc[0]!r:.100}", where=where, do="send rows of both")
    if task.question == "binary" and len(classes) != 2:
        raise Refusal(f"{len(classes)} classes are not two", where=where, do='ask for the task "multiclass"')


def _array(values: pd.Series, column: Column) -> NDArray[Any]:
    where = f"column {column.name!r}"
    if column.kind == "number":
        numbers = _numbers(values, where)
        return np.where(np.isfinite(numbers), numbers, np.nan)  # an infinite number is a missing one
    if column.kind == "date":
        return _dates(values, where)
    missing = values.isna().to_numpy()
    return np.array([None if gone else level(value) for value, gone in zip(values, missing, strict=True)], dtype=object)


def _numbers(values: pd.Series, where: str) -> NDArray[np.float64]:
    try:
        numbers: NDArray[np.float64] = values.astype("float64").to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise Refusal(
            f"holds no numbers: {error!s:.200}", where=where, do='declare it as "category" or "date"'
        ) from error
    return numbers


def _dates(values: pd.Series, where: str) -> NDArray[np.datetime64]:
    try:
        times = pd.to_datetime(values, utc=True)
    except (TypeError, ValueError, OverflowError) as error:
        raise Refusal(
            f"holds no dates: {error!s:.200}", where=where, do="write them as 2020-05-31T23:59:59Z"
        ) from error
    plain: NDArray[np.datetime64] = times.dt.tz_localize(None).to_numpy("datetime64[us]")
    return plain
