"""Bringing rows of other series and other tables to the steps of one series, as they were known at each step.

One function joins for training, at every step of a series, and for serving, at its newest ones.

Nothing leaks. A forecast whose newest candle begins at ``ds`` is made when that candle ends, at ``ds + step``:

- a driver's candle of the same ``ds`` ends at that very moment and is known; no later one is taken, because times must be
  equal;
- an outside row of time ``o`` is known at ``o + delay``, which the user declares; the newest row with
  ``o + delay <= ds + step`` is taken, and what is worked out from it (change, means) looks only at rows before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from springtide.tasks.forecast.features.feature import Floats
    from springtide.tasks.forecast.features.spec import OutsideSpec

__all__ = ["join_driver", "join_outside", "outside_columns", "outside_span_s", "seen_column", "value_column"]

DAY_S = 86_400
MEANS = {"mean_1d": DAY_S, "mean_7d": 7 * DAY_S}


def value_column(driver: str) -> str:
    """The joined close (or y) of a driver."""
    return f"value of {driver}"


def seen_column(driver: str) -> str:
    """1 where a driver has a row of its own at that step, else 0."""
    return f"seen of {driver}"


def outside_columns(name: str, column: str) -> tuple[str, ...]:
    """The joined columns of one column of an outside table.

    >>> outside_columns("funding", "rate")[:3]
    ('funding.rate', 'funding.rate.change', 'funding.rate.mean_1d')
    """
    return (f"{name}.{column}", *(f"{name}.{column}.{fact}" for fact in ("change", *MEANS, "age")))


def outside_span_s(spec: OutsideSpec, *, step_s: int) -> int:
    """How far before the ``ds`` of a cutoff the outside rows begin that its features look at, in seconds."""
    max_age_s = int(spec.max_age.total_seconds())
    return int(spec.delay.total_seconds()) + max_age_s + max(max_age_s, *MEANS.values()) - step_s


def join_driver(
    seconds: NDArray[np.int64],
    driver: str,
    *,
    driver_seconds: NDArray[np.int64],
    values: Floats,
    filled: NDArray[np.bool_],
) -> dict[str, Floats]:
    """The columns of one driver at the steps of a series.

    Parameters
    ----------
    seconds : (n,) int64
        Steps of the series, rising.
    driver : str
        unique_id of the other series.
    driver_seconds, values, filled : (m,)
        The driver on its own grid: time, close (or y), and whether the step was missing.

    Returns
    -------
    dict of (n,) float64
        The value, NaN where the driver's grid has no such step, and whether a row was there.
    """
    if not len(driver_seconds):
        return {value_column(driver): np.full(len(seconds), np.nan), seen_column(driver): np.zeros(len(seconds))}
    place = np.minimum(np.searchsorted(driver_seconds, seconds), len(driver_seconds) - 1)
    there = driver_seconds[place] == seconds
    return {
        value_column(driver): np.where(there, values[place], np.nan),
        seen_column(driver): (there & ~filled[place]).astype(np.float64),
    }


def join_outside(
    seconds: NDArray[np.int64], rows: Mapping[str, NDArray[Any]], name: str, spec: OutsideSpec, *, step_s: int
) -> dict[str, Floats]:
    """The columns of one outside table at the steps of a series, each as of the moment at which it was known.

    Parameters
    ----------
    seconds : (n,) int64
        Steps of the series; a forecast is made at ``seconds + step_s``.
    rows : mapping
        Of one unique_id: ``ds`` (m,) int64 seconds, rising, and the numeric columns, (m,), NaN where there is no
        value.
    name : str
        What the settings call the table.
    spec : OutsideSpec
        Which columns, and when they are known.
    step_s : int
        Seconds between two steps of the series.

    Returns
    -------
    dict of (n,) float64
        Of each column: the newest known value, its change since the one known before it (none when that was more than
        ``max_age`` older), the means of the day and the 7 days that end with it, and how many steps ago it became known.
        NaN where nothing is known, or where it became known more than ``max_age`` ago.
    """
    joined: dict[str, Floats] = {}
    for column in spec.columns:
        values = np.asarray(rows[column], dtype=np.float64)
        has_value = np.isfinite(values)
        facts = _as_of(seconds + step_s, rows["ds"][has_value], values[has_value], spec)
        facts[-1] /= step_s
        joined.update(zip(outside_columns(name, column), facts, strict=True))
    return joined


def _as_of(moments: NDArray[np.int64], times: NDArray[np.int64], values: Floats, spec: OutsideSpec) -> list[Floats]:
    """Value, change, means and age in seconds of one column, at each moment."""
    if not len(times):
        return [np.full(len(moments), np.nan) for _ in range(3 + len(MEANS))]
    max_age_s = int(spec.max_age.total_seconds())
    known_at = times + int(spec.delay.total_seconds())
    newest = np.searchsorted(known_at, moments, side="right") - 1
    rows, back = np.unique(np.maximum(newest, 0), return_inverse=True)  # the rows that are looked at
    before = np.maximum(rows - 1, 0)
    has_before = (rows > 0) & (times[rows] - times[before] <= max_age_s)
    age = (moments - known_at[np.maximum(newest, 0)]).astype(np.float64)
    facts = [
        values[rows],
        np.where(has_before, values[rows] - values[before], np.nan),
        *(_mean_before(times, values, rows, span_s) for span_s in MEANS.values()),
    ]
    known = (newest >= 0) & (age <= max_age_s)
    return [np.where(known, each, np.nan) for each in (*(fact[back] for fact in facts), age)]


def _mean_before(times: NDArray[np.int64], values: Floats, rows: NDArray[np.int64], span_s: int) -> Floats:
    """The mean of the span that ends with each of `rows`; each sum is taken by itself, from its own values."""
    first = np.searchsorted(times, times[rows] - span_s, side="right")
    edges = np.stack([first, rows + 1], axis=1).ravel()
    sums = np.add.reduceat(np.append(values, 0.0), edges)[::2]
    means: Floats = sums / (rows + 1 - first)
    return means
