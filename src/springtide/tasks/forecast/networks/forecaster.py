"""The whole network, from raw rows to quantiles in prices: observation, body, head."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from springtide.tasks.forecast.networks.head import QuantileHead
from springtide.tasks.forecast.networks.lstm import Lstm
from springtide.tasks.forecast.networks.mixer import Mixer
from springtide.tasks.forecast.networks.observation import CandleObservation, PlainObservation

__all__ = ["CandleForecaster", "Forecaster", "Layout", "PlainForecaster", "build_forecaster"]


@dataclass(frozen=True, slots=True)
class Layout:
    """All that decides the shape of a network; weights of one layout fit another that is equal."""

    kind: Literal["candles", "plain"]
    network: Literal["lstm", "mixer"]
    window: int
    horizon: int
    levels: tuple[float, ...]
    decay: float

    def facts(self) -> dict[str, Any]:
        """The layout as plain JSON."""
        return asdict(self)


class CandleForecaster(nn.Module):
    """Candles in, prices out."""

    def __init__(self, layout: Layout, table: Tensor) -> None:
        super().__init__()
        self.observe = CandleObservation(layout.window, layout.decay)
        self.body = _body(layout, self.observe.channels, self.observe.facts)
        self.head = QuantileHead(self.body.features, table, logarithmic=True)

    def forward(self, candles: Tensor, market: Tensor, cutoff: Tensor) -> Tensor:
        # (batch, window, 5), (batch, window), (batch,) -> (batch, horizon, levels)
        observed = self.observe(candles, market, cutoff)
        quantiles: Tensor = self.head(self.body(observed), observed)
        return quantiles


class PlainForecaster(nn.Module):
    """A plain series in, the same unit out."""

    def __init__(self, layout: Layout, table: Tensor) -> None:
        super().__init__()
        self.observe = PlainObservation(layout.window, layout.decay)
        self.body = _body(layout, self.observe.channels, self.observe.facts)
        self.head = QuantileHead(self.body.features, table, logarithmic=False)

    def forward(self, values: Tensor, cutoff: Tensor) -> Tensor:
        # (batch, window, 1), (batch,) -> (batch, horizon, levels)
        observed = self.observe(values, cutoff)
        quantiles: Tensor = self.head(self.body(observed), observed)
        return quantiles


Forecaster = CandleForecaster | PlainForecaster


def build_forecaster(layout: Layout, table: Tensor | None = None) -> Forecaster:
    """A fresh network that starts at the volatility baseline `table` (horizon, levels); zeros before weights are loaded."""
    if table is None:
        table = torch.zeros(layout.horizon, len(layout.levels))
    return CandleForecaster(layout, table) if layout.kind == "candles" else PlainForecaster(layout, table)


def _body(layout: Layout, channels: int, facts: int) -> Mixer | Lstm:
    if layout.network == "mixer":
        return Mixer(channels, facts, layout.window)
    return Lstm(channels, facts)
