"""Scores of probabilistic forecasts, one figure an item; lower is better where it is a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["coverage", "direction_hits", "mean_absolute_error", "pinball", "squared_error"]


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
