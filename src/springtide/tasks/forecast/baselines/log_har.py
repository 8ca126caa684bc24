"""The coming volatility by least squares on the logs of past volatilities: the strongest cheap rival on candles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from springtide.tasks.forecast.baselines.predictor import (
    changes_after,
    pull_to_symmetry,
    quantile_table,
    thin,
    to_target,
)
from springtide.tasks.forecast.volatility import FLOOR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from springtide.tasks.forecast.items import Windows
    from springtide.tasks.forecast.panel import Panel

    Floats = NDArray[np.float64]

__all__ = ["LogHar", "fit_log_har"]

SPANS = (1, 3, 6, 12, 24, 72)  # steps over which past volatility is said, beside the whole window
LEAST_RATIO = 0.01  # of the window's variance; one flat step has no logarithm
STIFFNESS = 30.0  # of the ridge, per step of the horizon: that many items share an outcome
WAVES = ((86_400, 4), (604_800, 3))  # seconds of a period, and how many harmonics of it the volatility may have
CHUNK = 4_000_000  # values at a time: bounds the memory


@dataclass(frozen=True, slots=True, eq=False)
class LogHar:
    """Quantiles of past changes in units of the volatility that was foretold for them, times that foretold now.

    The log volatility of the steps up to each one ahead is linear in what the item's window shows: log volatilities
    over several spans (of mean squares and of mean roots), past returns in units of volatility and the negative part
    of them, time of day and of week.

    Attributes
    ----------
    weights : (facts, horizon) float64
        Of the facts of a window, the constant last; the sum is log(volatility ahead / volatility of the window).
    table : (horizon, levels) float64
        Quantiles of (level at step k - level at the item) / volatility foretold for the steps up to k.

    Notes
    -----
    Source: the heterogeneous autoregression of Corsi 2009, doi:10.1093/jjfinec/nbp001, in logs as in Andersen,
    Bollerslev & Diebold 2007, doi:10.1162/rest.89.4.701; with the leverage effect of Corsi & Renò 2012,
    doi:10.1080/07350015.2012.663261.
    """

    weights: Floats
    table: Floats

    def __call__(self, windows: Windows, items: NDArray[np.int64]) -> Floats:
        """Quantiles (n, horizon, levels) in the unit of the target."""
        return to_target(windows.panel, items, self.volatility(windows, items)[:, :, None] * self.table)

    def volatility(self, windows: Windows, items: NDArray[np.int64]) -> Floats:
        """(n, horizon) root mean square change a step, foretold for the steps up to each one ahead."""
        return _foretell(windows, items, self.weights)


def fit_log_har(windows: Windows) -> LogHar:
    """Fit weights by ridge regression, then the quantiles, on the training items of all series together."""
    sample = thin(windows.train)
    weights = _fit_weights(windows, sample)
    scaled = changes_after(windows, sample) / _foretell(windows, sample, weights)
    table = quantile_table(scaled, np.array(windows.recipe.levels))
    return LogHar(weights, pull_to_symmetry(table))


def _foretell(windows: Windows, items: NDArray[np.int64], weights: Floats) -> Floats:
    volatility = np.empty((len(items), windows.recipe.horizon))
    for part in _parts(len(items), windows.recipe.window):
        facts, unit = _observe(windows, items[part])
        volatility[part] = unit[:, None] * np.exp(facts @ weights)
    return volatility


def _fit_weights(windows: Windows, items: NDArray[np.int64]) -> Floats:
    """(facts, horizon) weights; regressions for a few horizons, the steps between them interpolated."""
    horizon = windows.recipe.horizon
    ends = _regressed_steps(horizon)
    parts = [_observe(windows, items[part]) for part in _parts(len(items), windows.recipe.window)]
    facts = np.concatenate([part[0] for part in parts])
    unit = np.concatenate([part[1] for part in parts])
    ahead = np.concatenate([_variances_ahead(windows, items[part], ends) for part in _parts(len(items), horizon)])
    ratio = np.clip(ahead / np.square(unit)[:, None], 0.0, LEAST_RATIO**-2)  # a flat window foretells nothing
    wanted = 0.5 * np.log(ratio + LEAST_RATIO)  # (n, ends)

    mean, spread = facts[:, :-1].mean(axis=0), facts[:, :-1].std(axis=0)
    spread[spread < 1e-9] = np.inf  # a fact that never varies has no weight
    normal = (facts[:, :-1] - mean) / spread
    ridge = STIFFNESS * horizon * np.eye(normal.shape[1])
    slopes = np.linalg.solve(normal.T @ normal + ridge, normal.T @ (wanted - wanted.mean(axis=0))) / spread[:, None]
    constant = wanted.mean(axis=0) - mean @ slopes
    steps = np.log(np.arange(1, horizon + 1))
    between = np.stack([np.interp(steps, np.log(ends), line) for line in np.eye(len(ends))])  # (ends, horizon)
    weights: Floats = np.concatenate([slopes, constant[None]]) @ between
    return weights


def _observe(windows: Windows, items: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """What each item's window shows, (n, facts), and its volatility per step, (n,), in units of the level."""
    terms = windows.recipe.window - 1
    spans = np.array([*(span for span in SPANS if span < terms), terms])
    first, last = items.min() - terms + 1, items.max() + 1
    changes, variances = _steps(windows.panel, first, last)
    place = items - first - terms + 1  # of the window's first change

    def mean(values: Floats) -> Floats:  # (rows,) -> (n, spans): over the newest steps of each window
        newest_first = sliding_window_view(values, terms)[place, ::-1]
        total: Floats = np.cumsum(newest_first, axis=1)[:, spans - 1] / spans
        return total

    squares, roots, drifts = mean(variances), mean(np.sqrt(variances)), mean(changes)
    unit = np.sqrt(squares[:, -1:] + FLOOR**2)
    returns = np.arcsinh(drifts * np.sqrt(spans) / unit)
    columns = [
        np.log(unit),
        0.5 * np.log(squares[:, :-1] / unit**2 + LEAST_RATIO),
        np.log(roots[:, 1:] / unit + LEAST_RATIO**0.5),
        returns,
        np.minimum(returns, 0.0),
        _calendar(windows.panel.seconds[items], windows.panel.step_s),
        np.ones_like(unit),
    ]
    return np.concatenate(columns, axis=1), unit[:, 0]


def _steps(panel: Panel, first: int, last: int) -> tuple[Floats, Floats]:
    """Changes of the level into the rows ``first:last``, and the variances of those steps.

    A candle's variance is the mean of the squared change and the variance that its range stands for, of which the
    latter is far less noisy. Source: Parkinson 1980, doi:10.1086/296071.
    """
    changes = np.diff(panel.level[first - 1 : last])
    variances = np.square(changes)
    if panel.kind == "candles":
        ranges = np.log(panel.values[first:last, 1] / panel.values[first:last, 2])
        variances = (variances + np.square(ranges) / (4 * np.log(2))) / 2
    return changes, variances


def _variances_ahead(windows: Windows, items: NDArray[np.int64], ends: NDArray[np.int64]) -> Floats:
    """(n, ends) mean variance of the steps from each item up to each of `ends`."""
    first = items.min() + 1
    _, variances = _steps(windows.panel, first, items.max() + windows.recipe.horizon + 1)
    after = sliding_window_view(variances, windows.recipe.horizon)[items + 1 - first]
    means: Floats = np.cumsum(after, axis=1)[:, ends - 1] / ends
    return means


def _regressed_steps(horizon: int) -> NDArray[np.int64]:
    """1, 2, 3, 5, 8, 13 and so on, and the horizon."""
    steps = [1, 2]
    while steps[-1] < horizon:
        steps.append(steps[-1] + steps[-2])
    return np.array([*(step for step in steps if step < horizon), horizon])


def _calendar(seconds: NDArray[np.int64], step_s: int) -> Floats:
    """(n, waves) sines and cosines of the time of day and of week, as far as steps of this length can show them."""
    angles = [
        2 * np.pi * (seconds % period) / (period / harmonic)
        for period, harmonics in WAVES
        for harmonic in range(1, harmonics + 1)
        if period > 2 * step_s * harmonic
    ]
    waves = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
    return np.stack(waves, axis=1) if waves else np.empty((len(seconds), 0))


def _parts(items: int, width: int) -> Iterator[slice]:
    size = max(1, CHUNK // width)
    return (slice(at, at + size) for at in range(0, items, size))
