"""Where a fresh candle network starts: a regression of the coming volatility on all that it sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from springtide.tasks.forecast.baselines.predictor import changes_after, quantile_table, thin
from springtide.tasks.forecast.networks.head import QuantileHead
from springtide.tasks.forecast.training import WindowTensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from springtide.tasks.forecast.items import Windows
    from springtide.tasks.forecast.networks.forecaster import Forecaster
    from springtide.tasks.forecast.panel import Panel

__all__ = ["garman_klass", "start_at_regression"]

MOST_ITEMS = 20_000  # training items of the regression, evenly spread
MOST_VALIDATION = 4_000
RIDGES = (1e-3, 1e-2, 1e-1, 1.0)  # in units of the facts' variance
LEAST_SPREAD = 0.05  # facts are logs and squashed ratios: what varies less must not get a large weight
CHUNK = 1024

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def start_at_regression(network: Forecaster, windows: Windows) -> float | None:
    """Set the scale of `network` by ridge regression, and its quantiles by the errors that are left.

    The log volatility of the coming 1, 2, ... horizon steps, measured from ranges, is regressed on the facts at the
    cutoff. The ridge is the one whose forecasts have the least pinball loss on the validation items; where none is
    better than the volatility baseline at which the network stands, it stays there.

    Returns
    -------
    float or None
        The ridge that was taken.

    Notes
    -----
    Source: Corsi 2009, doi:10.1093/jjfinec/nbp001, with logs, ranges and leverage; Garman & Klass 1980,
    doi:10.1086/296072.
    """
    items, checked = thin(windows.train, MOST_ITEMS), thin(windows.validation, MOST_VALIDATION)
    head = network.head
    assert isinstance(head, QuantileHead)  # a seasonal head has no volatility
    facts, volatility = _observe(network, windows, items)
    waves = head.waves.double().numpy()  # (waves, horizon)
    wanted = _coming(windows, items, volatility) @ np.linalg.pinv(waves)  # (n, waves)
    levels = torch.tensor(windows.recipe.levels, dtype=torch.float64)
    kept, best = None, _loss(network, windows, checked, levels)
    state = {name: value.clone() for name, value in head.state_dict().items()}
    for ridge in RIDGES:
        weights, bias = _solve(facts, wanted, ridge)
        scale = np.exp((facts @ weights + bias) @ waves) * volatility[:, None]
        table = quantile_table(changes_after(windows, items) / scale, np.array(windows.recipe.levels))
        head.start(
            torch.from_numpy(weights.T), torch.from_numpy(bias), torch.from_numpy(table), seen=torch.from_numpy(facts)
        )
        if (loss := _loss(network, windows, checked, levels)) < best:
            kept, best = ridge, loss
            state = {name: value.clone() for name, value in head.state_dict().items()}
    head.load_state_dict(state)
    return kept


def garman_klass(panel: Panel) -> NDArray[np.float64]:
    """(rows,) variance of each candle from its open, high, low and close, in squared units of the level; 0 when filled."""
    opened, high, low, close = np.log(panel.values[:, :4]).T
    variance = 0.5 * (high - low) ** 2 - (2 * np.log(2) - 1) * (close - opened) ** 2
    return np.where(panel.filled, 0.0, np.maximum(variance, 0.0))


def _observe(network: Forecaster, windows: Windows, items: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """(n, facts) and (n,) volatility, as the network sees them."""
    tensors = WindowTensors.of(windows, torch.device("cpu"))
    with torch.inference_mode():
        parts = [
            network.observe(*tensors.inputs(torch.from_numpy(items[at : at + CHUNK])))
            for at in range(0, len(items), CHUNK)
        ]
    facts = torch.cat([part.summary for part in parts]).double().numpy()
    return facts, torch.cat([part.volatility for part in parts]).numpy()


def _coming(windows: Windows, items: NDArray[np.int64], volatility: Floats) -> Floats:
    """(n, horizon) log of the volatility over the first k coming steps, in units of the volatility now."""
    steps = np.arange(1, windows.recipe.horizon + 1)
    variance = garman_klass(windows.panel)[items[:, None] + steps]
    floor = (1e-2 * volatility[:, None]) ** 2
    found: Floats = 0.5 * np.log((variance.cumsum(axis=1) / steps + floor) / volatility[:, None] ** 2)
    return found


def _solve(facts: Floats, wanted: Floats, ridge: float) -> tuple[Floats, Floats]:
    """Weights (facts, waves) and bias (waves,); facts are compared in units of their own spread."""
    centre, spread = facts.mean(axis=0), np.maximum(facts.std(axis=0), LEAST_SPREAD)
    scaled = (facts - centre) / spread
    products = scaled.T @ scaled / len(scaled) + ridge * np.eye(scaled.shape[1])
    weights = np.linalg.solve(products, scaled.T @ (wanted - wanted.mean(axis=0)) / len(scaled)) / spread[:, None]
    return weights, wanted.mean(axis=0) - centre @ weights


def _loss(network: Forecaster, windows: Windows, items: NDArray[np.int64], levels: torch.Tensor) -> float:
    """The mean pinball loss of some items, as shares of the price at the cutoff."""
    tensors = WindowTensors.of(windows, torch.device("cpu"))
    total = 0.0
    with torch.inference_mode():
        for part in torch.split(torch.from_numpy(items), CHUNK):
            missed = tensors.outcomes(part)[:, :, None] - network.quantiles(*tensors.inputs(part))
            losses = torch.maximum(levels * missed, (levels - 1) * missed).mean(dim=(1, 2))
            total += float((losses / tensors.target[part]).sum())
    return total / len(items)
