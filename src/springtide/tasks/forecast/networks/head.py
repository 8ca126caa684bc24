"""The last layer: corrections to a volatility baseline, then quantiles in the target's own unit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from springtide.tasks.forecast.networks.observation import Observed

__all__ = ["QuantileHead", "zero_linear"]


class QuantileHead(nn.Module):
    """Quantiles that start exactly at the volatility baseline and can never cross.

    The baseline's table of scaled quantiles is moved by three corrections, all zero at the start: of scale (one
    factor a step), of location (a shift a step, in units of volatility) and of shape (a factor for the distance
    between neighbouring quantiles). Corrections vary smoothly over the horizon: they are spanned by a few cosines.
    The scale also follows the facts at the cutoff directly; `start` sets that by a regression, which answers for facts
    between the `least` and the `most` that it has seen and takes others as the nearest of those.
    """

    median: Tensor
    distances: Tensor
    waves: Tensor
    root: Tensor
    least: Tensor
    most: Tensor

    def __init__(self, features: int, facts: int, table: Tensor, *, logarithmic: bool, smooth: int = 8) -> None:
        # table (horizon, levels): quantiles of changes in units of volatility, rising over the levels
        super().__init__()
        horizon, levels = table.shape
        self.logarithmic = logarithmic
        self.middle = levels // 2
        steps = (torch.arange(horizon) + 0.5) / horizon
        waves = torch.stack([torch.cos(math.pi * k * steps) for k in range(min(smooth, horizon))])
        self.register_buffer("waves", waves)  # (waves, horizon)
        self.register_buffer("median", table[:, self.middle].double().clone())  # (horizon,)
        self.register_buffer(
            "distances", table.diff(dim=1).double().clamp_min(1e-9).contiguous()
        )  # (horizon, levels - 1)
        self.register_buffer("root", torch.sqrt(torch.arange(1, horizon + 1, dtype=torch.float64)))
        self.register_buffer("least", torch.full((facts,), -torch.inf))
        self.register_buffer("most", torch.full((facts,), torch.inf))
        self.direct = zero_linear(facts, len(waves))
        self.scale = zero_linear(features, len(waves))
        self.location = zero_linear(features, len(waves))
        self.shape = zero_linear(features, levels - 1)

    def forward(self, features: Tensor, observed: Observed) -> Tensor:  # -> (batch, horizon, levels) float64
        facts = torch.minimum(torch.maximum(observed.summary, self.least), self.most)
        scale = torch.exp(((self.scale(features) + self.direct(facts)) @ self.waves).double())
        location = (self.location(features) @ self.waves).double() * self.root
        shape = torch.exp(self.shape(features).double())  # (batch, levels - 1)
        distances = self.distances * shape[:, None, :] * scale[:, :, None]
        below = distances[:, :, : self.middle].flip(2).cumsum(2).flip(2)
        above = distances[:, :, self.middle :].cumsum(2)
        median = (self.median + location)[:, :, None]
        changes = torch.cat([median - below, median, median + above], dim=2)
        level = observed.level[:, None, None] + observed.volatility[:, None, None] * changes
        return torch.exp(level) if self.logarithmic else level

    def start(self, weights: Tensor, bias: Tensor, table: Tensor, *, seen: Tensor) -> None:
        """Let the scale follow the facts by `weights` (waves, facts) and `bias` (waves,), and begin at another table.

        `seen` (n, facts) are those that the weights were found with.
        """
        self.least.copy_(seen.amin(dim=0))
        self.most.copy_(seen.amax(dim=0))
        with torch.no_grad():
            self.direct.weight.copy_(weights)
            self.direct.bias.copy_(bias)
        self.median.copy_(table[:, self.middle])
        self.distances.copy_(table.diff(dim=1).clamp_min(1e-9))


def zero_linear(inputs: int, outputs: int) -> nn.Linear:
    """A layer that says nothing before it is trained."""
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
