"""Is a difference in loss more than chance? For forecasts whose outcomes overlap and whose series move together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtr

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from springtide.evaluation.losses import Losses

__all__ = ["Difference", "compare", "compare_by_group", "diebold_mariano", "long_run_variance"]


@dataclass(frozen=True, slots=True)
class Difference:
    """How much lower one predictor's loss is than another's.

    `gain` is a share of the rival's mean loss, `p_value` one-sided: the chance of at least this gain if the
    challenger were no better. `times` counts distinct prediction times, the independent evidence being fewer.
    """

    gain: float
    statistic: float
    p_value: float
    times: int


def compare(challenger: Losses, rival: Losses) -> Difference:
    """Compare two predictors on the same items, pooled over all groups.

    The differences of all groups at one time are averaged before the test, so that series which move together
    are not counted as independent evidence.

    Raises
    ------
    ValueError
        If the two were not asked for the same items.

    Notes
    -----
    Averaging over the cross-section first: Driscoll & Kraay 1998, doi:10.1162/003465398557825.
    """
    challenger.check_same_items(rival)
    times, place = np.unique(challenger.times, return_inverse=True)
    # a sum a time, over the mean number of items a time: the mean over times is the mean over items
    sums = np.bincount(place, weights=rival.values - challenger.values)
    differences = np.asarray(sums * (len(times) / len(place)), dtype=np.float64)
    statistic, p_value = diebold_mariano(differences, overlap=challenger.overlap)
    return Difference(_gain(challenger.mean, rival.mean), statistic, p_value, len(times))


def compare_by_group(challenger: Losses, rival: Losses) -> dict[str, Difference]:
    """`compare` within each group (series), for people: many tests, so some will look significant by chance."""
    found = {}
    for group in np.unique(challenger.groups):
        mine = challenger.groups == group
        order = np.argsort(challenger.times[mine], kind="stable")
        differences = (rival.values[mine] - challenger.values[mine])[order]
        statistic, p_value = diebold_mariano(differences, overlap=challenger.overlap)
        gain = _gain(float(challenger.values[mine].mean()), float(rival.values[mine].mean()))
        found[str(group)] = Difference(gain, statistic, p_value, len(differences))
    return found


def diebold_mariano(differences: NDArray[np.float64], *, overlap: int) -> tuple[float, float]:
    """Test whether mean(`differences`) is above zero.

    Parameters
    ----------
    differences : (n,) float
        Rival's loss minus challenger's, in time order; positive where the challenger is better.
    overlap : int
        How many of the following forecasts share outcomes with one: horizon - 1 for a forecast every step.

    Returns
    -------
    statistic : float
        The test statistic, about t-distributed with n - 1 degrees of freedom under equal accuracy.
    p_value : float
        One-sided; 1.0 when there is too little to tell (fewer than 3 independent stretches, or no variation).

    Notes
    -----
    Diebold & Mariano 1995, doi:10.1080/07350015.1995.10524599, with the small-sample correction of Harvey,
    Leybourne & Newbold 1997, doi:10.1016/S0169-2070(96)00719-4.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> statistic, p = diebold_mariano(0.5 + rng.normal(size=200), overlap=0)
    >>> bool(statistic > 2 and p < 0.01)
    True
    """
    n, h = len(differences), overlap + 1
    if n < 3 * h or n < 3:
        return 0.0, 1.0
    variance = long_run_variance(differences, overlap=overlap)
    if variance <= np.finfo(np.float64).tiny:
        return 0.0, 1.0
    correction = np.sqrt((n + 1 - 2 * h + h * (h - 1) / n) / n)
    statistic = float(correction * differences.mean() / np.sqrt(variance / n))
    return statistic, float(stdtr(n - 1, -statistic))


def long_run_variance(values: NDArray[np.float64], *, overlap: int) -> float:
    """The variance of sqrt(n) times the mean of dependent values.

    The larger of two estimates, so that neither a negative lobe nor slow regimes make chance look like skill:
    all autocovariances up to `overlap` with equal weight (exact for overlapping outcomes), and Bartlett weights
    up to three times that reach, at least n^(1/3).

    Source: Newey & West 1987, doi:10.2307/1913610.
    """
    n = len(values)
    reach = min(n - 1, max(3 * overlap, int(np.ceil(n ** (1 / 3)))))
    centred = values - values.mean()
    size = 1 << int(2 * n - 1).bit_length()
    spectrum = np.fft.rfft(centred, size)
    covariances = np.fft.irfft(spectrum * spectrum.conj(), size)[: reach + 1] / n
    flat = covariances[0] + 2 * covariances[1 : overlap + 1].sum()
    bartlett = covariances[0] + 2 * ((1 - np.arange(1, reach + 1) / (reach + 1)) * covariances[1:]).sum()
    return float(max(flat, bartlett))


def _gain(challenger: float, rival: float) -> float:
    return 0.0 if rival == 0 else 1.0 - challenger / rival
