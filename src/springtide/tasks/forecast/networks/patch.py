"""A small transformer over patches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from springtide.tasks.forecast.networks.observation import Observed

__all__ = ["PatchTransformer"]


class PatchTransformer(nn.Module):
    """Overlapping patches of the window attend to one another; all of them together are the features.

    Source: Nie et al. 2023 (PatchTST), arXiv:2211.14730. Unlike there, layers are normalised (Xiong et al. 2020,
    arXiv:2002.04745) instead of batches, so that moving averages of the weights need no statistics of their own, and
    the channels of a candle are embedded together.
    """

    def __init__(
        self, channels: int, facts: int, length: int, *, width: int = 64, heads: int = 4, layers: int = 2
    ) -> None:
        super().__init__()
        self.patch = min(16, max(2, length // 4))
        self.stride = self.patch // 2
        self.rest = -(length - self.patch) % self.stride  # steps by which the last value is repeated
        patches = (length + self.rest - self.patch) // self.stride + 1
        self.embed = nn.Linear(self.patch * channels, width)
        self.position = nn.Parameter(0.02 * torch.randn(patches, width))
        self.encoder = nn.ModuleList([_Encoder(width, heads) for _ in range(layers)])
        self.features = patches * width + facts

    def forward(self, observed: Observed) -> Tensor:  # -> (batch, features)
        steps = observed.steps.transpose(1, 2)  # (batch, channels, length)
        if self.rest:
            steps = torch.cat([steps, steps[:, :, -1:].expand(-1, -1, self.rest)], dim=2)
        patches = steps.unfold(2, self.patch, self.stride).transpose(1, 2)  # (batch, patches, channels, patch)
        hidden = self.embed(patches.flatten(2)) + self.position
        for layer in self.encoder:
            hidden = layer(hidden)
        return torch.cat([hidden.flatten(1), observed.summary], dim=1)


class _Encoder(nn.Module):
    """One layer: attention, then a small MLP, each added to what came in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.temper = heads, (width / heads) ** -0.5
        self.attend = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.think = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, hidden: Tensor) -> Tensor:  # (batch, patches, width) -> the same
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (batch, heads, patches, width / heads)
            for part in self.attend(self.before(hidden)).chunk(3, dim=2)
        )
        attention = functional.softmax(query @ key.transpose(2, 3) * self.temper, dim=3)
        hidden = hidden + self.merge((attention @ value).transpose(1, 2).flatten(2))
        thought: Tensor = self.think(self.between(hidden))
        return hidden + thought
