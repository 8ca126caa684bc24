"""Stacks that look at the window at several rates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from springtide.tasks.forecast.networks.head import zero_linear

if TYPE_CHECKING:
    from springtide.tasks.forecast.networks.observation import Observed

__all__ = ["Interpolation", "NHits"]


class NHits(nn.Module):
    """Each stack pools what the stacks before it left unexplained, and gives the forecast at a few knots.

    The features are the knots of all stacks; `Interpolation` adds them up to a forecast of every step.

    Source: Challu et al. 2022, arXiv:2201.12886.
    """

    POOLS = (2, 2, 1)  # steps that are pooled, stack by stack
    STEPS_PER_KNOT = (4, 2, 1)

    def __init__(
        self, channels: int, facts: int, length: int, *, horizon: int, levels: int, silent: bool, width: int = 512
    ) -> None:
        super().__init__()
        # silent: all knots are zero at the start
        self.levels = levels
        self.knots = tuple(math.ceil(horizon / steps) for steps in self.STEPS_PER_KNOT)
        pooled = [channels * math.ceil(length / pool) + facts for pool in self.POOLS]
        self.blocks = nn.ModuleList([_mlp(size, width) for size in pooled])
        last = zero_linear if silent else nn.Linear
        self.forecasts = nn.ModuleList([last(width, knots * levels) for knots in self.knots])
        self.backcasts = nn.ModuleList([nn.Linear(width, channels * length) for _ in pooled[1:]])
        self.features = sum(self.knots) * levels

    def forward(self, observed: Observed) -> Tensor:  # -> (batch, features)
        left = observed.steps.transpose(1, 2)  # (batch, channels, length): not yet explained
        forecasts = []
        for stack, (pool, block) in enumerate(zip(self.POOLS, self.blocks, strict=True)):
            pooled = functional.max_pool1d(left, pool, ceil_mode=True) if pool > 1 else left
            hidden = block(torch.cat([pooled.flatten(1), observed.summary], dim=1))
            forecasts.append(torch.unflatten(self.forecasts[stack](hidden), 1, (self.levels, -1)))
            if stack < len(self.backcasts):
                left = left - torch.unflatten(self.backcasts[stack](hidden), 1, (left.shape[1], -1))
        return torch.cat(forecasts, dim=2).flatten(1)  # (batch, levels * knots)


class Interpolation(nn.Module):
    """Corrections at every step, linear between the knots of each stack."""

    basis: Tensor

    def __init__(self, body: NHits, horizon: int) -> None:
        super().__init__()
        self.levels = body.levels
        lines = [functional.interpolate(torch.eye(knots)[None], size=horizon, mode="linear")[0] for knots in body.knots]
        self.register_buffer("basis", torch.cat(lines), persistent=False)  # (knots, horizon)

    def forward(self, features: Tensor) -> Tensor:  # (batch, levels * knots) -> (batch, horizon, levels)
        return (torch.unflatten(features, 1, (self.levels, -1)) @ self.basis).transpose(1, 2)


def _mlp(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
