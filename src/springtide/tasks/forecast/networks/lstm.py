"""The classical recurrent network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from springtide.tasks.forecast.networks.observation import Observed

__all__ = ["Lstm"]


class Lstm(nn.Module):
    """Two stacked LSTM layers of 128 units over the window; the last state is kept.

    Source: Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735.
    """

    def __init__(self, channels: int, facts: int, *, width: int = 128, layers: int = 2) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(channels, width, num_layers=layers, batch_first=True)
        self.facts = nn.Sequential(nn.Linear(facts, 32), nn.GELU())
        self.features = width + 32

    def forward(self, observed: Observed) -> Tensor:  # -> (batch, features)
        states, _ = self.recurrent(observed.steps)  # (batch, length, width)
        return torch.cat([states[:, -1], self.facts(observed.summary)], dim=1)
