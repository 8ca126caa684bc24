"""What a model is asked under: facts about the newest rows of each series, to set beside those of its training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from springtide.tasks.forecast.features.calendars import GROUP as CALENDAR
from springtide.tasks.forecast.volatility import FLOOR
from springtide.tasks.seam import Circumstances

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from numpy.typing import NDArray

    from springtide.tasks.forecast.items import Windows
    from springtide.tasks.forecast.panel import Panel

    Floats = NDArray[np.float64]

__all__ = ["circumstances_of"]

MOST_ROWS = 20_000  # of a series that are looked at, evenly spread


def circumstances_of(windows: Windows, *, seen_until: datetime, recent_from: datetime) -> Circumstances:
    """Facts about each series at the rows that a version has seen, and at the rows since `recent_from`.

    ``volatility``: log of the root mean square one-step change over the last season of the window (a day of hourly
    rows). ``return``: the change over the same span. Of candles also ``volume``: log of the candle's volume relative to
    the mean over the window, and ``range``: log of high over low relative to the volatility. And every feature of the
    recipe but those of the calendar, which a week and years of training never share.
    """
    panel = windows.panel
    every = -(-int(np.diff(panel.bounds).max()) // MOST_ROWS)
    seen, recent = _seen(windows, seen_until), panel.seconds >= recent_from.timestamp()
    looked_at = _whole(windows) & (panel.seconds // panel.step_s % every == 0)
    reference: dict[str, Floats] = {}
    newest: dict[str, Floats] = {}
    for name, values in _facts(windows):
        for index, series in enumerate(panel.series):
            here = slice(panel.bounds[index], panel.bounds[index + 1])
            label, mine = f"{name} of {series}", values[here]
            reference[label] = mine[(looked_at & seen)[here]]
            newest[label] = mine[(looked_at & recent)[here]]
    return Circumstances(reference, newest)


def _seen(windows: Windows, until: datetime) -> NDArray[np.bool_]:
    """(rows,) whether a version that was trained and validated until then has learned from the row."""
    recipe, seconds = windows.recipe, windows.panel.seconds
    seen: NDArray[np.bool_] = seconds <= until.timestamp()
    if recipe.train_period is not None:
        seen &= seconds >= (until - recipe.validation - recipe.train_period).timestamp()
    return seen


def _whole(windows: Windows) -> NDArray[np.bool_]:
    """(rows,) whether there is a whole window up to the row, and the row itself was observed."""
    panel = windows.panel
    first: NDArray[np.int64] = panel.bounds[panel.owner] + windows.recipe.window - 1
    return (np.arange(len(panel.seconds)) >= first) & ~panel.filled


def _facts(windows: Windows) -> Iterator[tuple[str, Floats]]:
    """Name and (rows,) values of each fact; the first window of a series says nothing."""
    panel, window = windows.panel, windows.recipe.window
    span = min(window - 1, max(windows.season, 2))
    changes = np.diff(panel.level, prepend=panel.level[:1])
    volatility = np.sqrt(_mean_of_last(np.square(changes), span))
    yield "volatility", np.log(np.maximum(volatility, FLOOR))
    yield "return", span * _mean_of_last(changes, span)
    if panel.kind == "candles":
        yield "volume", _log_ratio(panel.values[:, 4], _mean_of_last(panel.values[:, 4], window))
        yield "range", _log_ratio(_reach(panel), volatility)
    for place, name in enumerate(windows.features.names):
        if windows.features.groups[place] != CALENDAR:
            yield name, windows.features.values[:, place].astype(np.float64)


def _mean_of_last(values: Floats, span: int) -> Floats:
    """(rows,) the mean of the last `span` values at each row; 0 where there are fewer."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    means: Floats = np.zeros(len(values))
    means[span - 1 :] = (sums[span:] - sums[:-span]) / span
    return means


def _reach(panel: Panel) -> Floats:
    """(rows,) log of high over low."""
    reach: Floats = np.log(panel.values[:, 1] / panel.values[:, 2])
    return reach


def _log_ratio(values: Floats, means: Floats) -> Floats:
    """(rows,) log of values over means, no lower than that of `FLOOR`; 0 where the mean is 0."""
    ratios = np.divide(values, means, out=np.ones_like(values), where=means > 0)
    return np.log(np.maximum(ratios, FLOOR))
