"""Which of several models may be the best: the set that holds the best one with a given confidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from springtide.evaluation.losses import Losses

__all__ = ["EXCLUDED", "compare_all", "model_confidence_set"]

EXCLUDED = 0.1  # up to this p-value a model is not in the set of 90 % confidence
DRAWS = 2000


def compare_all(rivals: Mapping[str, Losses], *, rng: np.random.Generator) -> dict[str, float]:
    """The p-value of each rival, by name; those above `EXCLUDED` hold the best one with 90 % confidence.

    Losses of all series at one time are averaged first, as in `compare`; blocks are long enough for the overlap.

    Raises
    ------
    ValueError
        If the rivals were not asked for the same items.
    """
    everyone = list(rivals.values())
    first = everyone[0]
    for one in everyone[1:]:
        first.check_same_items(one)
    times, place = np.unique(first.times, return_inverse=True)
    sums = np.stack([np.bincount(place, weights=one.values) for one in everyone], axis=1)
    losses = np.asarray(sums * (len(times) / len(place)), dtype=np.float64)  # the mean over times is that over items
    found = model_confidence_set(losses, overlap=first.overlap, rng=rng)
    return dict(zip(rivals, found.tolist(), strict=True))


def model_confidence_set(
    losses: NDArray[np.float64], *, overlap: int, rng: np.random.Generator, draws: int = DRAWS
) -> NDArray[np.float64]:
    """The model confidence set: how sure one is that a model is not the best.

    Parameters
    ----------
    losses : (n, m) float
        Loss of each of m models at n times, in time order.
    overlap : int
        How many of the following times share outcomes with one.
    rng : Generator
        Draws the blocks of the bootstrap.
    draws : int
        Samples of the bootstrap.

    Returns
    -------
    (m,) float64
        A model belongs to the set of confidence 1 - alpha where its value is above alpha; the last one standing has
        1. All are 1 when there is too little to tell (fewer than 3 independent stretches).

    Notes
    -----
    Hansen, Lunde & Nason 2011, Econometrica 79(2), doi:10.3982/ECTA5771, with their range statistic T_R: model after
    model is put out, each time the one with the largest studentised difference to another that is left, and a model's
    value is the largest p-value so far. The bootstrap is circular, in blocks of three overlaps, at least n^(1/3): the
    reach of `long_run_variance`.

    Examples
    --------
    >>> losses = np.random.default_rng(1).normal([0.0, 0.0, 0.5], size=(400, 3))
    >>> model_confidence_set(losses, overlap=0, rng=np.random.default_rng(1)) > 0.1
    array([ True,  True, False])
    """
    n, m = losses.shape
    if n < 3 * (overlap + 1) or n < 3:
        return np.ones(m)
    block = min(n, max(3 * overlap + 1, int(np.ceil(n ** (1 / 3)))))
    means = losses.mean(axis=0)
    drawn = _bootstrap_means(losses - means, block, rng, draws)
    apart = drawn[:, :, None] - drawn[:, None, :]  # (draws, m, m), around zero
    error = np.sqrt(np.square(apart).mean(axis=0))
    differs = error > np.finfo(np.float64).eps * np.abs(means).max()  # equal models cannot be told apart
    statistics = np.divide(means[:, None] - means, error, out=np.zeros((m, m)), where=differs)
    chance = np.divide(apart, error, out=np.zeros_like(apart), where=differs)
    return _eliminate(statistics, chance)


def _eliminate(statistics: NDArray[np.float64], chance: NDArray[np.float64]) -> NDArray[np.float64]:
    """(m,) p-values, by putting out one model after another."""
    p_values = np.ones(len(statistics))
    remaining = list(range(len(statistics)))
    p_value = 0.0
    while len(remaining) > 1:
        inside = np.ix_(remaining, remaining)
        worst = remaining[int(statistics[inside].max(axis=1).argmax())]
        by_chance = chance[:, inside[0], inside[1]].max(axis=(1, 2))
        p_value = max(p_value, float((by_chance >= statistics[inside].max()).mean()))
        p_values[worst] = p_value
        remaining.remove(worst)
    return p_values


def _bootstrap_means(
    centred: NDArray[np.float64], block: int, rng: np.random.Generator, draws: int
) -> NDArray[np.float64]:
    """(draws, m) means of circular block samples of (n, m) values; the last block is cut to make n."""
    n = len(centred)
    starts = rng.integers(n, size=(draws, -(-n // block)))
    whole, cut = starts[:, :-1], starts[:, -1]
    last = n - block * whole.shape[1]
    means = np.empty((draws, centred.shape[1]))
    for model, values in enumerate(centred.T):  # one by one: bounds the memory
        sums = np.concatenate([[0.0], np.cumsum(np.concatenate([values, values[:block]]))])
        means[:, model] = (sums[whole + block] - sums[whole]).sum(axis=1) + sums[cut + last] - sums[cut]
    return means / n
