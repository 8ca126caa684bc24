"""Has the world changed? Inputs that are unlike those of training, and losses that have become worse than a baseline's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import smirnov

from springtide.evaluation.betting import BETS, cut_blocks, gains_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from springtide.evaluation.losses import Losses

    Floats = NDArray[np.float64]

__all__ = [
    "Shift",
    "Worsening",
    "autocorrelation_time",
    "detect_worsening",
    "find_shifts",
    "holm",
    "kolmogorov_smirnov",
    "population_stability",
]

BINS = 10
EXACT = 100  # values that the smaller sample is worth, from which on a p-value is that of the limit
HIGHEST = 1e9  # a statistic is shown up to here


@dataclass(frozen=True, slots=True)
class Shift:
    """How far one input has moved.

    Attributes
    ----------
    name : str
        Of the input.
    psi, threshold : float
        Population stability index, and from where on it is large.
    ks, p_value : float
        Two-sample Kolmogorov-Smirnov distance, and its p-value, corrected for dependence and for the number of inputs.
    items, effective : float
        Recent values, and how many independent ones they are worth.
    drifted : bool
        Whether the shift is large and no chance.
    """

    name: str
    psi: float
    threshold: float
    ks: float
    p_value: float
    items: int
    effective: float
    drifted: bool


@dataclass(frozen=True, slots=True)
class Worsening:
    """What speaks for a model having become worse than a baseline.

    Attributes
    ----------
    statistic, threshold : float
        The e-detector, and where it is believed.
    since : int, optional
        The prediction time from which on most speaks for it; None where nothing does.
    loss, baseline_loss : float
        Mean losses since then; over all where nothing speaks for it.
    blocks : int
        Of time, that were looked at.
    drifted : bool
        Whether the statistic has reached the threshold.
    """

    statistic: float
    threshold: float
    since: int | None
    loss: float
    baseline_loss: float
    blocks: int
    drifted: bool


def find_shifts(
    reference: Mapping[str, Floats], recent: Mapping[str, Floats], *, psi: float, alpha: float
) -> list[Shift]:
    """Compare the recent values of each input with those of a reference; inputs with too few of either are left out.

    An input has drifted if its PSI is at least `psi` above what so few independent values have by chance (so the shift
    is large), and if its Kolmogorov-Smirnov p-value is below `alpha` after Holm's correction (so it is no chance: a look
    finds any drift where none is no more often than that, however many inputs there are).

    Parameters
    ----------
    reference : mapping
        (n,) values by input, in time order and evenly spaced; NaN where not known, which counts as a value of its own.
    recent : mapping
        (m,) values by the same names, as far apart.

    Notes
    -----
    Successive values say much the same, so n and m are divided by the reference's `autocorrelation_time` first.
    """
    names = [name for name in reference if len(reference[name]) >= BINS and len(recent[name])]
    found = [_compare(reference[name], recent[name]) for name in names]
    p_values = holm([one.p_value for one in found])
    return [
        Shift(
            name,
            one.psi,
            threshold := psi + one.by_chance,
            one.ks,
            p_value,
            len(recent[name]),
            one.effective,
            bool(one.psi >= threshold and p_value < alpha),
        )
        for name, one, p_value in zip(names, found, p_values, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Compared:
    psi: float
    by_chance: float
    ks: float
    p_value: float
    effective: float


def _compare(reference: Floats, recent: Floats) -> _Compared:
    reference, recent = (np.where(np.isnan(values), -np.inf, values) for values in (reference, recent))
    memory = autocorrelation_time(reference)
    sizes = max(1.0, len(reference) / memory), max(1.0, len(recent) / memory)
    psi, bins = population_stability(reference, recent)
    ks, p_value = kolmogorov_smirnov(reference, recent, sizes=sizes)
    return _Compared(psi, (bins - 1) * (1 / sizes[0] + 1 / sizes[1]), ks, p_value, sizes[1])


def population_stability(reference: Floats, recent: Floats, *, bins: int = BINS) -> tuple[float, int]:
    """The population stability index over quantile bins of the reference.

    Parameters
    ----------
    reference : (n,) float
        No NaN; values that repeat may make bins fall together.
    recent : (m,) float
    bins : int

    Returns
    -------
    psi : float
        sum((q - p) log(q / p)) over the shares p and q of the bins; 0 where they are equal. Half a value is added to
        each bin, so that an empty one does not make it infinite.
    bins : int
        How many there were.

    Notes
    -----
    Without change PSI is about (1/n + 1/m) times a chi-square variable with bins - 1 degrees of freedom, whose mean is
    bins - 1, so with few values a fixed threshold alone cries wolf: Yurdakul & Naranjo 2020, Journal of Risk Model Validation 14(4),
    doi:10.21314/JRMV.2020.227.

    Examples
    --------
    >>> values = np.arange(1000.0)
    >>> population_stability(values, values)
    (0.0, 10)
    >>> psi, _ = population_stability(values, values + 500)
    >>> round(psi, 1)
    3.5
    """
    edges = np.unique(np.quantile(reference, np.arange(1, bins) / bins, method="inverted_cdf"))
    counts = [np.bincount(np.searchsorted(edges, one), minlength=len(edges) + 1) + 0.5 for one in (reference, recent)]
    p, q = (count / count.sum() for count in counts)
    return float(((q - p) * np.log(q / p)).sum()), len(edges) + 1


def kolmogorov_smirnov(
    reference: Floats, recent: Floats, *, sizes: tuple[float, float] | None = None
) -> tuple[float, float]:
    """The largest distance of two empirical distribution functions, and the chance of at least it without change.

    Parameters
    ----------
    reference, recent : (n,), (m,) float
        No NaN.
    sizes : pair of float, optional
        How many independent values the two are worth; n and m when not given.

    Notes
    -----
    Exact where the smaller sample is worth fewer than 100 values: Hodges 1958, Arkiv foer Matematik 3(5),
    doi:10.1007/BF02589501. Else twice the one-sided one of one sample of nm / (n + m) values, as in Smirnov's limit:
    Birnbaum & Tingey 1951, doi:10.1214/aoms/1177729550.

    Examples
    --------
    >>> kolmogorov_smirnov(np.arange(100.0), np.arange(100.0))
    (0.0, 1.0)
    >>> distance, p = kolmogorov_smirnov(np.arange(99.0), np.array([1000.0]))
    >>> distance, round(p, 3)
    (1.0, 0.02)
    """
    n, m = sizes or (len(reference), len(recent))
    everything = np.concatenate([reference, recent])
    below = [np.searchsorted(np.sort(one), everything, side="right") / len(one) for one in (reference, recent)]
    distance = float(np.abs(below[0] - below[1]).max())
    if min(n, m) < EXACT:
        return distance, _chance_of_distance(int(max(n, m)), int(min(n, m)), distance)
    return distance, min(1.0, 2 * float(smirnov(int(n * m / (n + m)), distance)))


def _chance_of_distance(n: int, m: int, distance: float) -> float:
    """That two samples of one continuous distribution are at least so far apart: counts the orders in which they mix.

    ``inside[j]`` is the number of orders of the first i and j values in which they never are, over binom(i + n, i).
    """
    below = (np.floor(distance * n * m - 1e-7) + 0.5) / (n * m)
    places = np.arange(n + 1) / n
    inside = (places < below).astype(np.float64)
    for i in range(1, m + 1):
        first, stop = np.searchsorted(places, [i / m - below, i / m + below])
        within = np.zeros(n + 1)
        within[first:stop] = np.cumsum(i / (i + n) * inside[first:stop])
        inside = within
    return min(1.0, max(0.0, 1.0 - float(inside[-1])))


def autocorrelation_time(values: Floats) -> float:
    """How many successive values say as much as one independent value; at least 1.

    1 + 2 times the sum of the autocorrelations of the ranks, up to the first lag that is five times that sum.

    Source: Sokal 1997, Monte Carlo methods in statistical mechanics, doi:10.1007/978-1-4899-0319-8_6.

    Examples
    --------
    >>> steps = np.random.default_rng(0).standard_normal(1000)
    >>> round(autocorrelation_time(steps)), round(autocorrelation_time(np.repeat(steps, 20)))
    (1, 21)
    """
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - counts / 2)[place]
    centred, n = ranks - ranks.mean(), len(ranks)
    power = np.abs(np.fft.rfft(centred, 1 << int(2 * n - 1).bit_length())) ** 2
    covariances = np.fft.irfft(power)[:n]
    if len(counts) == 1:
        return 1.0
    times = 2 * np.cumsum(covariances / covariances[0]) - 1
    enough = np.flatnonzero(np.arange(n) >= 5 * times)
    return max(1.0, float(times[enough[0]] if len(enough) else n))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of m tests, corrected so that the chance of any false alarm stays at their level.

    Source: Holm 1979, Scandinavian Journal of Statistics 6(2), https://www.jstor.org/stable/4615733.

    >>> holm([0.5, 0.01, 0.02])
    [0.5, 0.03, 0.04]
    """
    raw = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(raw, kind="stable")
    corrected = np.empty_like(raw)
    corrected[order] = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1))
    return [float(one) for one in np.minimum(corrected, 1.0)]


def detect_worsening(champion: Losses, baseline: Losses, *, threshold: float) -> Worsening:
    """Watch whether a model has become worse than a baseline, at whatever time that began.

    Time is cut into blocks of ``overlap + 1`` prediction times. From each block on a gambler starts with 1 and bets that
    the champion's mean loss will be above the baseline's; the statistic is what all of them together have.

    Parameters
    ----------
    champion, baseline : Losses
        On the same items.
    threshold : float
        If the champion is not worse, the statistic reaches it within N blocks with a chance of at most N / threshold,
        and on average after `threshold` blocks or more.

    Raises
    ------
    ValueError
        If the two were not asked for the same items.

    Notes
    -----
    The e-detector of Shiryaev-Roberts type, M = (M + 1)(1 + b z) after each block: Shin, Ramdas & Rinaldo 2024,
    arXiv:2203.03532; z is the block's mean difference over 2.5 root mean squares of the blocks known before it, cut off
    at -1 and 1, as in `gather_evidence`. As long as the conditional mean of z is not above 0, M minus the number of
    blocks is a supermartingale for every bet b, hence also the mean of M over `BETS`: Ville's inequality gives the
    chance. The outcomes of a block are known only when the next one is over, so even and odd blocks are two detectors;
    the statistic is the larger one, and the blocks of both count in N.
    """
    champion.check_same_items(baseline)
    blocks = cut_blocks(champion)
    gains, bet_on = gains_of(blocks, champion.values, baseline.values)  # a champion whose loss is no number has lost
    sequence = np.where(bet_on, blocks.numbers % blocks.sequences, -1)
    log = max(_log_detector(-gains[sequence == number]) for number in range(blocks.sequences))
    first = _begin(-gains)
    since = None if first is None else int(blocks.numbers[first]) * blocks.length
    after = champion.times >= (champion.times.min() if since is None else since)
    return Worsening(
        statistic=float(np.exp(min(log, np.log(HIGHEST)))),
        threshold=threshold,
        since=since,
        loss=float(champion.values[after].mean()),
        baseline_loss=float(baseline.values[after].mean()),
        blocks=int(bet_on.sum()),
        drifted=bool(log >= np.log(threshold)),
    )


def _log_detector(excess: Floats) -> float:
    """The log of a detector after its last block; `excess` (k,) of each that it bets on."""
    logs = np.full(len(BETS), -np.inf)
    for growth in np.log1p(excess[:, None] * BETS):  # (blocks, bets)
        logs = np.logaddexp(logs, 0.0) + growth
    return float(np.logaddexp.reduce(logs) - np.log(len(BETS)))


def _begin(excess: Floats) -> int | None:
    """The block from which on `excess` (k,) is most likely above 0; None where it is not at the end.

    Where the sum of what exceeds half of the later mean is lowest: Page 1954, doi:10.1093/biomet/41.1-2.100.
    """
    first, mean = 0, 0.0
    for _ in range(2):  # first guess the later mean, then use it
        sums = np.concatenate([[0.0], np.cumsum(excess - mean / 2)])
        first = int(np.argmin(sums))
        if first == len(excess):
            return None
        mean = float(excess[first:].mean())
    return first
