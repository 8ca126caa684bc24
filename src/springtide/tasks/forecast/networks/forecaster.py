"""The whole network, from raw rows to quantiles in prices: observation, body, head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from springtide.tasks.forecast.networks.bodies import Body, build_body
from springtide.tasks.forecast.networks.classic import ClassicHead, ClassicObservation
from springtide.tasks.forecast.networks.doubt import Dissimilarity
from springtide.tasks.forecast.networks.head import QuantileHead
from springtide.tasks.forecast.networks.observation import CALENDAR, CandleObservation, Observed, PlainObservation
from springtide.tasks.forecast.networks.seasonal import SeasonalHead, SeasonalObservation

if TYPE_CHECKING:
    from springtide.tasks.forecast.networks.layout import Layout

__all__ = ["Forecaster", "build_forecaster"]


class Forecaster(nn.Module):
    """Raw rows in; quantiles in the unit of the target out, and how far the input is from what was trained on."""

    def __init__(self, layout: Layout, table: Tensor) -> None:
        super().__init__()
        self.features = len(layout.features)
        self.observation = _observation(layout)
        shape = self.observation
        self.body = build_body(layout, channels=shape.channels, facts=shape.facts, length=shape.length)
        self.head = _head(layout, self.body, self.observation, table)
        self.doubt = Dissimilarity(self.observation.facts - CALENDAR)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        # candles (batch, window, 5), market (batch, window), or values (batch, window, 1); then cutoff (batch,) and,
        # where there are any, features (batch, features) -> (batch, horizon, levels), (batch,)
        observed = self.observe(*inputs)
        return self.head(self.body(observed), observed), self.doubt(self.circumstances(observed))

    def quantiles(self, *inputs: Tensor) -> Tensor:
        """(batch, horizon, levels) float64: the first answer alone, which is all that training needs."""
        observed = self.observe(*inputs)
        quantiles: Tensor = self.head(self.body(observed), observed)
        return quantiles

    def observe(self, *inputs: Tensor) -> Observed:
        """What the body sees."""
        if not self.features:
            inputs = (*inputs, inputs[0].new_zeros((inputs[0].shape[0], 0), dtype=torch.float32))
        observed: Observed = self.observation(*inputs)
        return observed

    def circumstances(self, observed: Observed) -> Tensor:
        """(batch, facts) by which inputs are compared: all but the calendar, in which nothing is far."""
        return observed.summary[:, :-CALENDAR]


Observation = CandleObservation | ClassicObservation | PlainObservation | SeasonalObservation


def build_forecaster(layout: Layout, table: Tensor | None = None) -> Forecaster:
    """A fresh network that starts at the baseline's `table` (horizon, levels); zeros before weights are loaded."""
    if table is None:
        table = torch.zeros(layout.horizon, len(layout.levels))
    return Forecaster(layout, table)


def _observation(layout: Layout) -> Observation:
    if layout.network == "classic":
        return ClassicObservation(layout)
    if layout.kind == "candles":
        return CandleObservation(layout.window, layout.decay, len(layout.features))
    if layout.season > 1:
        return SeasonalObservation(layout)
    return PlainObservation(layout.window, layout.decay, len(layout.features), logarithmic=layout.logarithmic)


def _head(
    layout: Layout, body: Body, observation: Observation, table: Tensor
) -> ClassicHead | QuantileHead | SeasonalHead:
    if isinstance(observation, ClassicObservation):
        return ClassicHead(body.features, table)
    if layout.season > 1:
        return SeasonalHead(layout, body, table)
    return QuantileHead(
        body.features, observation.facts, table, logarithmic=layout.kind == "candles" or layout.logarithmic
    )
