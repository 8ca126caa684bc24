"""First and last layer for plain series with seasons: the last season repeated, and free corrections to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from springtide.tasks.forecast.networks.head import zero_linear
from springtide.tasks.forecast.networks.nhits import Interpolation, NHits
from springtide.tasks.forecast.networks.observation import CALENDAR, FeatureScaler, Observed, calendar
from springtide.tasks.forecast.seasonal_scale import STEP_SHARE
from springtide.tasks.forecast.volatility import FLOOR

if TYPE_CHECKING:
    from springtide.tasks.forecast.networks.bodies import Body
    from springtide.tasks.forecast.networks.layout import Layout

__all__ = ["SeasonalHead", "SeasonalObservation"]

LEAST = 1e-3  # added before a log


class SeasonalObservation(nn.Module):
    """See a plain series ``y`` as its distance from the last value, in units of its usual change over a season.

    The distance is taken in float64, because a level of 60,000 leaves a float32 few digits; all else is float32.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.season = layout.season
        self.logarithmic = layout.logarithmic
        self.scale = FeatureScaler(len(layout.features))
        self.length = layout.window
        self.channels = 1
        self.facts = 5 + len(layout.features) + CALENDAR

    def forward(self, values: Tensor, cutoff: Tensor, features: Tensor) -> Observed:
        # values (batch, window, 1); cutoff (batch,) seconds; features (batch, features) float32
        level = torch.log(values[:, :, 0]) if self.logarithmic else values[:, :, 0]
        away = (level - level[:, -1:]).float()
        seasonal = (away[:, self.season :] - away[:, : -self.season]).abs()
        stepwise = (away[:, 1:] - away[:, :-1]).abs().mean(dim=1, keepdim=True)
        unit = torch.maximum(seasonal.mean(dim=1, keepdim=True), STEP_SHARE * stepwise).clamp_min(FLOOR)
        scaled = away / unit  # (batch, window)
        facts = [
            torch.log(seasonal[:, -self.season :].mean(dim=1, keepdim=True) / unit + LEAST),
            torch.log(stepwise / unit + LEAST),
            torch.log(scaled.abs().mean(dim=1, keepdim=True) + LEAST),
            torch.asinh(scaled[:, -self.season :].mean(dim=1, keepdim=True)),
            torch.asinh(scaled.mean(dim=1, keepdim=True)),
        ]
        summary = torch.cat([*facts, self.scale(features), calendar(cutoff)], dim=1)
        return Observed(scaled[:, :, None], summary, level[:, -1], unit[:, 0].double())


class SeasonalHead(nn.Module):
    """Quantiles that start exactly at the seasonal baseline and can never cross.

    The median is the same step of the last season, shifted by a correction of its own at every step; the distances
    between neighbouring quantiles are the baseline's, each times a positive factor, 1 at the start (squareplus, Barron
    2021, arXiv:2112.11687).
    """

    gaps: Tensor
    repeated: Tensor
    ladder: Tensor

    def __init__(self, layout: Layout, body: Body, table: Tensor) -> None:
        # table (horizon, levels): quantiles around their median in units of the seasonal scale, rising over the levels
        super().__init__()
        horizon, levels = table.shape
        self.correct = _corrections(body, horizon, levels)
        self.logarithmic = layout.logarithmic
        self.register_buffer("gaps", table.diff(dim=1).float().clamp_min(1e-6).contiguous())  # (horizon, levels - 1)
        repeated = torch.arange(horizon) % layout.season - layout.season + layout.window
        self.register_buffer("repeated", repeated, persistent=False)  # (horizon,) places in the window
        self.register_buffer("ladder", _ladder(levels), persistent=False)

    def forward(self, features: Tensor, observed: Observed) -> Tensor:  # -> (batch, horizon, levels) float64
        corrections = self.correct(features)  # (batch, horizon, levels), the median's first
        median = observed.steps[:, self.repeated] + corrections[:, :, :1]
        push = corrections[:, :, 1:]
        gaps = self.gaps * (push + torch.sqrt(push.square() + 4)) / 2  # positive, and the baseline's at no push
        changes = median.double() + (gaps @ self.ladder).double()
        level = observed.level[:, None, None] + observed.volatility[:, None, None] * changes
        return torch.exp(level) if self.logarithmic else level


def _corrections(body: Body, horizon: int, levels: int) -> nn.Module:
    """From features to (batch, horizon, levels), all zero at the start."""
    if isinstance(body, NHits):
        return Interpolation(body, horizon)
    return nn.Sequential(zero_linear(body.features, horizon * levels), nn.Unflatten(1, (horizon, levels)))


def _ladder(levels: int) -> Tensor:
    """(levels - 1, levels) that adds gaps up: how far each quantile is from the median."""
    gaps, quantiles = torch.arange(levels - 1)[:, None], torch.arange(levels)
    middle = levels // 2
    above = (gaps >= middle) & (quantiles > gaps)
    below = (gaps < middle) & (quantiles <= gaps)
    return above.float() - below.float()
