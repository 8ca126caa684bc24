"""One loss a judging item, and the further figures people ask for, chunk by chunk."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from springtide.domain.errors import Conflict
from springtide.evaluation.losses import Losses
from springtide.evaluation.scores import (
    calibration_error,
    coverage,
    direction_hits,
    interval_score,
    mean_absolute_error,
    pinball,
    qlike,
    shares_below,
    squared_error,
)
from springtide.tasks.forecast.answers import Doubting
from springtide.tasks.forecast.volatility import FLOOR, ewma_volatility

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from springtide.tasks.forecast.baselines import Predictor
    from springtide.tasks.forecast.items import Windows

__all__ = ["item_scale", "naive_error", "score"]

CHUNK = 4096  # items at a time: bounds the memory
MOST_VALIDATION_ITEMS = 2000  # from which the factor of a variance forecast is estimated, evenly spread
DAY_S, HOUR_S = 86_400, 3600
REGIME_DECAY = 0.97  # of the volatility that says how calm a market is
REGIMES = (1 / 3, 2 / 3)


def score(predictor: Predictor, windows: Windows) -> Losses:
    """The pinball loss of every judging item, in units of the item's scale, with metrics over all of them.

    The metrics: ``crps`` (twice the pinball loss), ``mae`` and ``rmse`` of the median in units of the scale, ``mase``
    (Hyndman & Koehler 2006, doi:10.1016/j.ijforecast.2006.03.001), ``coverage_80`` for every interval, ``direction``:
    the share of steps whose direction the median foretold; about a half is no skill. ``interval_score_90`` of the
    widest interval in units of the scale, ``calibration_error`` over all levels, and for candles ``qlike`` of the
    variance that the widest interval implies. The slices: ``hour`` of the cutoff (UTC) where a step is shorter than a
    day, ``regime`` of the volatility then: 0 calm, 1 usual, 2 wild, and of a predictor that can doubt ``doubtful``: 1
    for items that are unlike its training data. Their share and the mean loss of the others and of them stand apart among the metrics.
    """
    items = windows.judging
    naive = naive_error(windows)
    parts = [_score_chunk(predictor, windows, items[at : at + CHUNK], naive) for at in range(0, len(items), CHUNK)]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    values, below, spread = columns.pop("pinball"), columns.pop("below").mean(axis=0), columns.pop("spread")
    doubtful, can_doubt = columns.pop("doubtful") > 0, hasattr(predictor, "answer")
    means = {name: float(column.mean()) for name, column in columns.items()}
    widest = f"coverage_{windows.recipe.intervals[-1]}"
    metrics = {widest: means.pop(widest), **means}
    metrics["rmse"] = float(np.sqrt(metrics.pop("squared_error")))
    metrics["crps"] = float(2 * values.mean())
    metrics["calibration_error"] = calibration_error(below, np.array(windows.recipe.levels))
    metrics |= {**_qlike(predictor, windows, spread), **_doubts(values, doubtful)}
    panel = windows.panel
    return Losses(
        name="pinball loss (share of the price)" if panel.kind == "candles" else "pinball loss (scaled as MASE)",
        values=values,
        times=panel.seconds[items] // panel.step_s * panel.step_s,  # series that tick at other minutes share a step
        groups=np.array(panel.series)[panel.owner[items]],
        overlap=(windows.recipe.horizon - 1) // windows.recipe.stride,
        metrics=metrics,
        step=panel.step_s * windows.recipe.stride,
        slices={**_slices(windows), **({"doubtful": doubtful.astype(np.int64)} if can_doubt else {})},
        calibration=dict(zip(windows.recipe.levels, below.tolist(), strict=True)),
        question=_question(windows),
    )


def _question(windows: Windows) -> str:
    """What the settings ask for. A series that comes to a table of which all are asked for is no other question."""
    panel, recipe = windows.panel, windows.recipe
    asked = panel.kind, panel.step_s, recipe.horizon, recipe.levels, windows.season, sorted(recipe.series)
    return repr(asked)


def _score_chunk(
    predictor: Predictor, windows: Windows, items: NDArray[np.int64], naive: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Figures of some items, each (n,); ``below`` is (n, levels)."""
    levels = np.array(windows.recipe.levels)
    scale = item_scale(windows, items, naive)
    outcomes = windows.outcomes(items)
    quantiles, doubtful = _answer(predictor, windows, items)
    median = quantiles[:, :, len(levels) // 2]
    absolute = mean_absolute_error(outcomes, median)
    found = {
        "pinball": pinball(outcomes, quantiles, levels) / scale,
        "mase": absolute / naive[windows.panel.owner[items]],
        "direction": direction_hits(windows.panel.target[items], outcomes, median),
        "mae": absolute / scale,
        "squared_error": squared_error(outcomes, median) / scale**2,
        "below": shares_below(outcomes, quantiles),
        "spread": _spread(windows, quantiles),
        "doubtful": doubtful.astype(np.float64),
    }
    widest = windows.recipe.intervals[-1]
    winkler = interval_score(outcomes, quantiles[:, :, 0], quantiles[:, :, -1], share=widest / 100)
    found[f"interval_score_{widest}"] = winkler / scale
    for wide, share in enumerate(reversed(windows.recipe.intervals)):
        found[f"coverage_{share}"] = coverage(outcomes, quantiles[:, :, wide], quantiles[:, :, -1 - wide])
    return found


def _answer(
    predictor: Predictor, windows: Windows, items: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Quantiles, and which items the predictor doubts; a baseline doubts nothing."""
    asked: object = predictor
    if isinstance(asked, Doubting):
        return asked.answer(windows, items)
    return predictor(windows, items), np.zeros(len(items), dtype=np.bool_)


def _spread(windows: Windows, quantiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) squared width of the widest interval at the last step, on the level's scale; 0 where it says no variance."""
    if windows.panel.kind != "candles":
        return np.zeros(len(quantiles))
    width: NDArray[np.float64] = np.log(quantiles[:, -1, -1] / quantiles[:, -1, 0])
    return np.square(np.maximum(width, FLOOR))


def _qlike(predictor: Predictor, windows: Windows, spread: NDArray[np.float64]) -> Mapping[str, float]:
    """The mean QLIKE of candles: realised variance over the horizon against the variance that the `spread` implies.

    Quantiles say a variance only up to the shape of their tails, which is one factor: it is estimated on validation
    items. Items whose price never moved have no variance to compare.
    """
    if windows.panel.kind != "candles":
        return {}
    sample = windows.validation[:: max(1, len(windows.validation) // MOST_VALIDATION_ITEMS)]
    realised, known = _realised_variance(windows, windows.judging), _realised_variance(windows, sample)
    moved = realised > 0
    if not moved.any() or not known.any():
        return {}
    try:
        implied = _spread(windows, predictor(windows, sample))
    except Conflict:  # it sees more history than the validation items have; the judging items, later, have enough
        return {}
    factor = float((known / implied).mean())  # the one of the least mean QLIKE
    return {"qlike": float(qlike(realised[moved], factor * spread[moved]).mean())}


def _doubts(values: NDArray[np.float64], doubtful: NDArray[np.bool_]) -> Mapping[str, float]:
    """The losses of items that are like the training data and of those that are not."""
    if not doubtful.any() or doubtful.all():
        return {}
    return {
        "doubtful": float(doubtful.mean()),
        "loss_familiar": float(values[~doubtful].mean()),
        "loss_doubtful": float(values[doubtful].mean()),
    }


def _realised_variance(windows: Windows, items: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) the sum of squared one-step changes of the level over the horizon of each item."""
    level = windows.panel.level
    sums = np.concatenate([[0.0], np.cumsum(np.square(np.diff(level)))])  # sums[i]: changes into the rows up to i
    variance: NDArray[np.float64] = sums[items + windows.recipe.horizon] - sums[items]
    return variance


def _slices(windows: Windows) -> Mapping[str, NDArray[np.int64]]:
    """(n,) labels of the judging items."""
    panel, found = windows.panel, {"regime": _regimes(windows)}
    if panel.step_s < DAY_S:
        found["hour"] = panel.seconds[windows.judging] % DAY_S // HOUR_S
    return found


def _regimes(windows: Windows) -> NDArray[np.int64]:
    """(n,) the third of its series' volatility in training that each judging item's volatility belongs to.

    Series that were not trained on are measured by all others.
    """
    panel = windows.panel
    volatility = ewma_volatility(panel, window=windows.recipe.window, decay=REGIME_DECAY)
    trained, owner = volatility[windows.train], panel.owner[windows.train]
    everyone = np.quantile(trained, REGIMES)
    limits = np.stack(
        [
            np.quantile(trained[owner == index], REGIMES) if np.any(owner == index) else everyone
            for index in range(len(panel.series))
        ]
    )
    of_items = volatility[windows.judging]
    regimes: NDArray[np.int64] = (of_items[:, None] > limits[panel.owner[windows.judging]]).sum(axis=1)
    return regimes


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
