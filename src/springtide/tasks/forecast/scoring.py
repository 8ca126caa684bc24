"""One loss a judging item, and the further figures people ask for, chunk by chunk."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from springtide.evaluation.losses import Losses
from springtide.evaluation.scores import coverage, direction_hits, mean_absolute_error, pinball, squared_error

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from springtide.tasks.forecast.baselines import Predictor
    from springtide.tasks.forecast.items import Windows

__all__ = ["item_scale", "naive_error", "score"]

CHUNK = 4096  # items at a time: bounds the memory


def score(predictor: Predictor, windows: Windows) -> Losses:
    """The pinball loss of every judging item, in units of the item's scale, with metrics over all of them.

    The metrics: ``crps`` (twice the pinball loss), ``mae`` and ``rmse`` of the median in units of the scale, ``mase``
    (Hyndman & Koehler 2006, doi:10.1016/j.ijforecast.2006.03.001), ``coverage_80`` for every interval, ``direction``:
    the share of steps whose direction the median foretold; about a half is no skill.
    """
    items = windows.judging
    naive = naive_error(windows)
    parts = [_score_chunk(predictor, windows, items[at : at + CHUNK], naive) for at in range(0, len(items), CHUNK)]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    values = columns.pop("pinball")
    means = {name: float(column.mean()) for name, column in columns.items()}
    widest = f"coverage_{windows.recipe.intervals[-1]}"
    metrics = {widest: means.pop(widest), **means}
    metrics["rmse"] = float(np.sqrt(metrics.pop("squared_error")))
    metrics["crps"] = float(2 * values.mean())
    panel = windows.panel
    return Losses(
        name="pinball loss (share of the price)" if panel.kind == "candles" else "pinball loss (scaled as MASE)",
        values=values,
        times=panel.seconds[items] // panel.step_s * panel.step_s,  # series that tick at other minutes share a step
        groups=np.array(panel.series)[panel.owner[items]],
        overlap=(windows.recipe.horizon - 1) // windows.recipe.stride,
        metrics=metrics,
    )


def _score_chunk(
    predictor: Predictor, windows: Windows, items: NDArray[np.int64], naive: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Figures of some items, each (n,)."""
    levels = np.array(windows.recipe.levels)
    scale = item_scale(windows, items, naive)
    outcomes = windows.outcomes(items)
    quantiles = predictor(windows, items)
    median = quantiles[:, :, len(levels) // 2]
    absolute = mean_absolute_error(outcomes, median)
    found = {
        "pinball": pinball(outcomes, quantiles, levels) / scale,
        "mase": absolute / naive[windows.panel.owner[items]],
        "direction": direction_hits(windows.panel.target[items], outcomes, median),
        "mae": absolute / scale,
        "squared_error": squared_error(outcomes, median) / scale**2,
    }
    for wide, share in enumerate(reversed(windows.recipe.intervals)):
        found[f"coverage_{share}"] = coverage(outcomes, quantiles[:, :, wide], quantiles[:, :, -1 - wide])
    return found


def item_scale(windows: Windows, items: NDArray[np.int64], naive: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) what an item's errors are divided by, so that no series outweighs another.

    The price at the cutoff; for plain series the seasonal naive's mean error in the training part, `naive` (s,).
    """
    if windows.panel.kind == "candles":
        return windows.panel.target[items]
    return naive[windows.panel.owner[items]]


def naive_error(windows: Windows) -> NDArray[np.float64]:
    """(s,) mean absolute change over one season in the training part of each series.

    1 where that part is no longer than a season, or repeats itself exactly.
    """
    panel, season = windows.panel, windows.season
    judged_s = int(windows.judged_from.timestamp())
    errors = np.ones(len(panel.series))
    owner = panel.owner[windows.train]
    for index, (start, stop) in enumerate(pairwise(panel.bounds)):
        mine = windows.train[owner == index]
        # a series too young to be trained on still has a past before the judging begins
        known = int(np.searchsorted(panel.seconds[start:stop], judged_s)) + int(start)
        past = panel.target[start : int(mine.max()) if len(mine) else known]
        if len(past) > season:
            errors[index] = np.abs(past[season:] - past[:-season]).mean() or 1.0
    return errors
