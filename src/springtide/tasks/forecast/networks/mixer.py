"""Patches and MLPs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from springtide.tasks.forecast.networks.observation import Observed

__all__ = ["Mixer"]


class Mixer(nn.Module):
    """Cut the window into patches and mix along time and along features in turn.

    Source: Ekambaram et al. 2023 (TSMixer over patches), arXiv:2306.09364; Chen et al. 2023, arXiv:2303.06053.
    """

    def __init__(self, channels: int, facts: int, length: int, *, width: int = 32, layers: int = 2) -> None:
        super().__init__()
        self.patch = max(1, min(24, length // 4))
        patches = length // self.patch
        self.used = patches * self.patch  # the newest rows; a remainder at the far end is left out
        self.embed = nn.Linear(self.patch * channels, width)
        self.facts = nn.Sequential(nn.Linear(facts, width), nn.GELU(), nn.Linear(width, width))
        self.along_time = nn.ModuleList([_mlp(patches) for _ in range(layers)])
        self.along_width = nn.ModuleList([_mlp(width) for _ in range(layers)])
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(2 * layers)])
        self.merge = nn.Sequential(nn.Linear(patches * width, width), nn.GELU())
        self.features = 2 * width

    def forward(self, observed: Observed) -> Tensor:  # -> (batch, features)
        steps = observed.steps[:, -self.used :]  # (batch, patches * patch, channels)
        patches = torch.unflatten(steps, 1, (-1, self.patch)).flatten(2)  # (batch, patches, patch * channels)
        hidden = self.embed(patches)  # (batch, patches, width)
        for layer, (time, width) in enumerate(zip(self.along_time, self.along_width, strict=True)):
            hidden = hidden + time(self.norms[2 * layer](hidden).transpose(1, 2)).transpose(1, 2)
            hidden = hidden + width(self.norms[2 * layer + 1](hidden))
        return torch.cat([self.merge(hidden.flatten(1)), self.facts(observed.summary)], dim=1)


def _mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
