"""GARCH(1,1): the variance of the next step follows from this step's and the newest change. Needs ``arch``."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from arch import arch_model
from scipy.signal import lfilter

from springtide.domain.errors import TooFewRows
from springtide.tasks.forecast.baselines.predictor import (
    changes_after,
    pull_to_symmetry,
    quantile_table,
    thin,
    to_target,
)
from springtide.tasks.forecast.volatility import FLOOR

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from springtide.tasks.forecast.items import Windows

    Floats = NDArray[np.float64]

__all__ = ["Garch", "fit_garch"]

MOST_CHANGES = 10_000  # of a series, the newest of its training part
LEAST_CHANGES = 100  # a series with fewer has the parameters that are usual among the others


@dataclass(frozen=True, slots=True, eq=False)
class Garch:
    """Quantiles of past changes in units of the volatility that was foretold for them, times that foretold now.

    Attributes
    ----------
    parameters : (series, 3) float64
        omega, alpha, beta of ``variance' = omega + alpha * change**2 + beta * variance``, in units of the level.
    start : (series,) float64
        The variance before the first row of each series.
    table : (horizon, levels) float64
        Quantiles of (level at step k - level at the item) / root of the variance foretold for the steps up to k.

    Notes
    -----
    Source: Bollerslev 1986, doi:10.1016/0304-4076(86)90063-1; empirical quantiles of standardised changes in place of
    a law, as in the filtered historical simulation of Barone-Adesi, Giannopoulos & Vosper 1999,
    doi:10.1002/(SICI)1096-9934(199908)19:5<583::AID-FUT5>3.0.CO;2-S.
    """

    parameters: Floats
    start: Floats
    table: Floats

    def __call__(self, windows: Windows, items: NDArray[np.int64]) -> Floats:
        """Quantiles (n, horizon, levels) in the unit of the target."""
        foretold = _foretell(windows, items, self.parameters, self.start)
        return to_target(windows.panel, items, foretold[:, :, None] * self.table)


def fit_garch(windows: Windows) -> Garch:
    """Fit each series' parameters by maximum likelihood with Student's t, then the quantiles of all together.

    Raises
    ------
    TooFewRows
        If no series has `LEAST_CHANGES` changes in its training part.
    """
    parameters, start = _fit_parameters(windows)
    sample = thin(windows.train)
    scaled = changes_after(windows, sample) / _foretell(windows, sample, parameters, start)
    table = quantile_table(scaled, np.array(windows.recipe.levels))
    return Garch(parameters, start, pull_to_symmetry(table))


def _fit_parameters(windows: Windows) -> tuple[Floats, Floats]:
    """(series, 3) parameters and (series,) variances to start from."""
    panel = windows.panel
    parameters = np.full((len(panel.series), 3), np.nan)  # omega in units of the series' own variance
    variance = np.full(len(panel.series), np.nan)
    owner = panel.owner[windows.train]
    for index, first in enumerate(panel.bounds[:-1]):
        mine = windows.train[owner == index]
        changes = np.diff(panel.level[first : mine.max() + 1])[-MOST_CHANGES:] if len(mine) else np.empty(0)
        if len(changes) >= LEAST_CHANGES and np.ptp(changes) > 0:
            variance[index] = np.square(changes).mean()
            parameters[index] = _fit_one(changes / np.sqrt(variance[index]))
    fitted = np.isfinite(parameters).all(axis=1)
    if not fitted.any():
        raise TooFewRows(
            f"no series has the {LEAST_CHANGES} changes that a GARCH model is fitted to",
            where=f"training part, {len(windows.train)} items",
            do='ingest more history, or leave "garch" out of `gate.baselines`',
        )
    parameters[~fitted] = np.median(parameters[fitted], axis=0)
    variance[np.isnan(variance)] = np.median(variance[np.isfinite(variance)])
    parameters[:, 0] *= variance
    return parameters, variance


def _fit_one(changes: Floats) -> Floats:
    """Omega, alpha, beta for changes of variance 1; not-a-numbers where the search for them failed."""
    model = arch_model(changes, mean="Zero", vol="GARCH", p=1, q=1, dist="t", rescale=False)
    result = model.fit(disp="off", show_warning=False)
    if result.convergence_flag != 0:
        return np.full(3, np.nan)
    found: Floats = result.params[["omega", "alpha[1]", "beta[1]"]].to_numpy(dtype=np.float64)
    return found


def _foretell(windows: Windows, items: NDArray[np.int64], parameters: Floats, start: Floats) -> Floats:
    """(n, horizon) root of the variance of the change up to each step ahead."""
    owner = windows.panel.owner[items]
    omega, alpha, beta = parameters[owner].T
    step = _next_variance(windows, parameters, start)[items]
    total = np.zeros((len(items), windows.recipe.horizon))
    total[:, 0] = step
    for ahead in range(1, windows.recipe.horizon):
        step = omega + (alpha + beta) * step
        total[:, ahead] = total[:, ahead - 1] + step
    return np.sqrt(total + FLOOR**2)


def _next_variance(windows: Windows, parameters: Floats, start: Floats) -> Floats:
    """(rows,) variance of the step after each row, from all rows of its series up to it."""
    panel = windows.panel
    variance = np.empty(len(panel.level))
    for index, (first, stop) in enumerate(pairwise(panel.bounds)):
        omega, alpha, beta = parameters[index]
        changes = np.diff(panel.level[first:stop], prepend=panel.level[first])
        driven = omega + alpha * np.square(changes)
        variance[first:stop] = lfilter([1.0], [1.0, -beta], driven, zi=[beta * start[index]])[0]
    return variance
