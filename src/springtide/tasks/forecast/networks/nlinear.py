"""One linear map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from springtide.tasks.forecast.networks.observation import Observed

__all__ = ["NLinear"]


class NLinear(nn.Module):
    """The window itself, from which the last value was subtracted: the head's linear layer is the whole network.

    Source: Zeng et al. 2022, arXiv:2205.13504.
    """

    def __init__(self, channels: int, facts: int, length: int) -> None:
        super().__init__()
        self.features = length * channels + facts

    def forward(self, observed: Observed) -> Tensor:  # -> (batch, features)
        return torch.cat([observed.steps.flatten(1), observed.summary], dim=1)
