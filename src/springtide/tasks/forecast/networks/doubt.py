"""How far an input is from all that the model was trained on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Dissimilarity"]

REFERENCES = 128  # training items that an input is compared with
FENCE = 1.5  # interquartile ranges above the upper quartile
LEAST_SPREAD = 0.1  # facts are logs and squashed ratios: a smaller difference is noise
SOFTENING = 1.0  # squared distance that counts as none: keeps rounding from being a large share of a small distance


class Dissimilarity(nn.Module):
    """The distance to the nearest of some training items, in units of their mean distance from each other.

    An input is doubtful above `threshold`, the upper fence of what other training items have.

    Source: Meyer & Pebesma 2021, doi:10.1111/2041-210X.13650, with facts weighted equally.
    """

    centre: Tensor
    spread: Tensor
    references: Tensor
    unit: Tensor

    def __init__(self, facts: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(facts))
        self.register_buffer("spread", torch.ones(facts))
        self.register_buffer("references", torch.zeros(REFERENCES, facts))
        self.register_buffer("unit", torch.ones(()))
        self.threshold = float("inf")  # of the training data, not of the graph

    def fit(self, facts: Tensor) -> None:
        """Learn from the facts of training items, (n, facts) in time order: every other one is held out for the threshold."""
        self.centre.copy_(facts.mean(dim=0))
        self.spread.copy_(facts.std(dim=0, correction=0).clamp_min(LEAST_SPREAD))
        known, held_out = facts[::2], facts[1::2]
        places = torch.linspace(0, len(known) - 1, REFERENCES).round().long()
        self.references.copy_((known[places] - self.centre) / self.spread)
        self.unit.copy_(torch.pdist(self.references).mean().clamp_min(1e-6))
        usual = self(held_out if len(held_out) else known)
        lower, upper = torch.quantile(usual, torch.tensor([0.25, 0.75], device=usual.device))
        self.threshold = float(upper + FENCE * (upper - lower))

    def forward(self, facts: Tensor) -> Tensor:  # (batch, facts) -> (batch,)
        scaled = (facts - self.centre) / self.spread
        away = (scaled[:, None, :] - self.references).square().sum(dim=2)  # (batch, references)
        return torch.sqrt(away.amin(dim=1) + SOFTENING) / self.unit
