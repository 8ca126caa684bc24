"""Scores of probabilistic forecasts, one figure an item; lower is better where it is a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = [
    "calibration_error",
    "coverage",
    "direction_hits",
    "interval_score",
    "mean_absolute_error",
    "pinball",
    "pit_histogram",
    "qlike",
    "shares_below",
    "squared_error",
]


def pinball(outcomes: Floats, quantiles: Floats, levels: Floats) -> Floats:
    """Mean quantile (pinball) loss of each item; twice its value approximates the CRPS.

    Parameters
    ----------
    outcomes : (n, h) float
        What was observed, step by step.
    quantiles : (n, h, q) float
        Forecast quantiles, same unit; ``[..., j]`` belongs to ``levels[j]``.
    levels : (q,) float
        Quantile levels, each in (0, 1).

    Returns
    -------
    (n,) float
        The loss, averaged over steps and levels, in the unit of `outcomes`; 0 is perfect.

    Raises
    ------
    ValueError
        If a level is outside (0, 1).

    Notes
    -----
    Source: Koenker & Bassett 1978, Econometrica 46(1), doi:10.2307/1913643; for the CRPS as an integral of
    quantile losses Gneiting & Ranjan 2011, doi:10.1198/jbes.2010.08110.

    Examples
    --------
    >>> pinball(np.array([[10.0]]), np.array([[[8.0]]]), np.array([0.5]))
    array([1.])
    """
    if not np.all((levels > 0) & (levels < 1)):
        raise ValueError(f"levels {levels} are not all between 0 and 1")
    missed = outcomes[:, :, None] - quantiles
    losses: Floats = np.maximum(levels * missed, (levels - 1) * missed).mean(axis=(1, 2))
    return losses


def mean_absolute_error(outcomes: Floats, points: Floats) -> Floats:
    """(n,) mean absolute error of (n, h) point forecasts, in the unit of the outcomes."""
    errors: Floats = np.abs(outcomes - points).mean(axis=1)
    return errors


def squared_error(outcomes: Floats, points: Floats) -> Floats:
    """(n,) mean squared error of (n, h) point forecasts; the root of its mean is the RMSE."""
    errors: Floats = np.square(outcomes - points).mean(axis=1)
    return errors


def coverage(outcomes: Floats, lower: Floats, upper: Floats) -> Floats:
    """(n,) share of (n, h) outcomes between `lower` and `upper`, ends included."""
    inside: Floats = ((outcomes >= lower) & (outcomes <= upper)).mean(axis=1)
    return inside


def direction_hits(origin: Floats, outcomes: Floats, points: Floats) -> Floats:
    """(n,) share of steps whose direction from `origin` (n,) was foretold; a half where the point does not move.

    >>> direction_hits(np.array([10.0]), np.array([[11.0, 9.0]]), np.array([[12.0, 10.0]]))
    array([0.75])
    """
    moved, said = np.sign(outcomes - origin[:, None]), np.sign(points - origin[:, None])
    hits: Floats = np.where(said == 0, 0.5, (moved == said).astype(np.float64)).mean(axis=1)
    return hits


def interval_score(outcomes: Floats, lower: Floats, upper: Floats, *, share: float) -> Floats:
    """Mean interval (Winkler) score of each item: the width, and a penalty for every outcome outside.

    Parameters
    ----------
    outcomes, lower, upper : (n, h) float
        What was observed, and the ends of the central interval, same unit.
    share : float
        How much of the outcomes the interval is to hold, in (0, 1).

    Returns
    -------
    (n,) float
        The score, averaged over steps, in the unit of `outcomes`; least in expectation for the true interval.

    Notes
    -----
    Sources: Winkler 1972, doi:10.1080/01621459.1972.10481224; Gneiting & Raftery 2007, section 6.2,
    doi:10.1198/016214506000001437.

    Examples
    --------
    >>> outcomes, lower, upper = np.array([[5.0, 12.0]]), np.array([[0.0, 0.0]]), np.array([[10.0, 10.0]])
    >>> interval_score(outcomes, lower, upper, share=0.9).round(6)  # 10, and 10 + 2 / 0.1 * 2
    array([30.])
    """
    outside = np.maximum(lower - outcomes, 0.0) + np.maximum(outcomes - upper, 0.0)
    scores: Floats = (upper - lower + 2 / (1 - share) * outside).mean(axis=1)
    return scores


def qlike(realised: Floats, forecast: Floats) -> Floats:
    """(n,) quasi-likelihood loss of variance forecasts: x - log(x) - 1 with x = realised / forecast; 0 is perfect.

    It ranks forecasts as if the true variance were known, though `realised` only estimates it, and does not depend
    on the unit. Both must be above 0.

    Source: Patton 2011, doi:10.1016/j.jeconom.2010.03.034.

    >>> qlike(np.array([1.0, 4.0]), np.array([1.0, 1.0])).round(3)
    array([0.   , 1.614])
    """
    ratio = realised / forecast
    losses: Floats = ratio - np.log(ratio) - 1
    return losses


def shares_below(outcomes: Floats, quantiles: Floats) -> Floats:
    """(n, q) share of each item's (n, h) outcomes that are not above its (n, h, q) quantiles.

    Their mean over items stands beside the level where forecasts are calibrated.

    Source: Gneiting, Balabdaoui & Raftery 2007, doi:10.1111/j.1467-9868.2007.00587.x.

    >>> shares_below(np.array([[1.0, 3.0]]), np.array([[[2.0, 4.0], [2.0, 4.0]]]))
    array([[0.5, 1. ]])
    """
    shares: Floats = (outcomes[:, :, None] <= quantiles).mean(axis=1)
    return shares


def pit_histogram(shares: Floats) -> Floats:
    """(q + 1,) share of the outcomes below, between and above the quantiles, from the (q,) shares below each.

    The histogram of the probability integral transform, as far as quantiles tell it: a calibrated forecast has the
    distance of the levels in each bin; too much in the outer ones says that the intervals are too narrow.

    Source: Diebold, Gunther & Tay 1998, doi:10.2307/2527342.

    >>> pit_histogram(np.array([0.1, 0.5, 0.75]))
    array([0.1 , 0.4 , 0.25, 0.25])
    """
    return np.diff(shares, prepend=0.0, append=1.0)


def calibration_error(shares: Floats, levels: Floats) -> float:
    """Mean distance of the shares below the quantiles from their levels, both (q,); 0 is calibrated.

    >>> calibration_error(np.array([0.2, 0.5, 0.9]), np.array([0.1, 0.5, 0.9]))
    0.03333333333333333
    """
    return float(np.abs(shares - levels).mean())
