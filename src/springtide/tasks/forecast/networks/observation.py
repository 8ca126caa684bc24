"""The first layer: raw rows become changes in units of the window's own volatility."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from springtide.tasks.forecast.volatility import FLOOR, decay_weights

__all__ = ["CALENDAR", "SPANS", "CandleObservation", "FeatureScaler", "Observed", "PlainObservation", "calendar"]

SPANS = (1, 3, 6, 12, 24, 72)  # steps over which volatility is said, beside the whole window
DAY_S, WEEK_S = 86_400, 604_800
EPS = 1e-6


class Observed(NamedTuple):
    """What a network's body sees, and what the head needs to speak in prices again."""

    steps: Tensor  # (batch, length, channels) float32: each change and its circumstances
    summary: Tensor  # (batch, facts) float32: volatility at several time scales, features, calendar
    level: Tensor  # (batch,) float64: log price, or y, at the cutoff
    volatility: Tensor  # (batch,) float64: per step, in units of the level


class _Volatility(nn.Module):
    """EWMA volatility of the changes inside the window, the same number as the baseline's."""

    weights: Tensor

    def __init__(self, window: int, decay: float) -> None:
        super().__init__()
        self.register_buffer("weights", torch.from_numpy(decay_weights(window, decay)))

    def forward(self, changes: Tensor) -> Tensor:  # (batch, window - 1) -> (batch,)
        return torch.sqrt((changes.square() * self.weights).sum(dim=1) + FLOOR**2)


class FeatureScaler(nn.Module):
    """Features in units of their spread in the training part; one that is not known says nothing."""

    centre: Tensor
    spread: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("spread", torch.ones(features))

    def fit(self, features: Tensor) -> None:
        """Learn centre and spread from (n, features) of training items; NaN where one is not known."""
        known = ~torch.isnan(features)
        count = known.sum(dim=0).clamp_min(1)
        centre = torch.where(known, features, 0.0).sum(dim=0) / count
        squares = torch.where(known, features - centre, 0.0).square().sum(dim=0) / count
        self.centre.copy_(centre)
        self.spread.copy_(squares.sqrt().clamp_min(EPS))

    def forward(self, features: Tensor) -> Tensor:  # (batch, features) -> (batch, features)
        known = ~torch.isnan(features)
        return _squash(torch.where(known, (features - self.centre) / self.spread, 0.0))


class CandleObservation(nn.Module):
    """See raw candles, the market's moves and the cutoff's place in day and week.

    Inputs are float64 because the log of a price of 60,000 leaves a float32 two digits for an hourly change.
    """

    def __init__(self, window: int, decay: float, features: int) -> None:
        super().__init__()
        self.spans = _spans(window)
        self.volatility = _Volatility(window, decay)
        self.scale = FeatureScaler(features)
        self.length, self.channels = window - 1, 6
        self.facts = 1 + 8 * len(self.spans) + features + CALENDAR

    def forward(self, candles: Tensor, market: Tensor, cutoff: Tensor, features: Tensor) -> Observed:
        # candles (batch, window, 5) open, high, low, close, volume; market (batch, window);
        # cutoff (batch,) seconds; features (batch, features) float32, NaN where not known
        logs = torch.log(candles[:, :, :4])
        close = logs[:, :, 3]
        changes = close[:, 1:] - close[:, :-1]
        volatility = self.volatility(changes)
        unit = volatility[:, None]
        scaled = (changes / unit).float()
        spread = ((logs[:, 1:, 1] - logs[:, 1:, 2]) / unit).float()
        body = ((logs[:, 1:, 3] - logs[:, 1:, 0]) / unit).float()
        around = (market[:, 1:] / unit).float()
        volume = (candles[:, 1:, 4] / (candles[:, 1:, 4].mean(dim=1, keepdim=True) + EPS)).float()
        steps = torch.stack(
            [
                _squash(scaled),
                _squash(scaled.abs()),
                _squash(spread),
                _squash(body),
                torch.log1p(volume),
                _squash(around),
            ],
            dim=2,
        )
        facts = [torch.log(volatility)[:, None].float() + 5.0]
        for span in self.spans:
            moved = scaled[:, -span:].sum(dim=1, keepdim=True) / span**0.5
            facts += [
                _log(scaled[:, -span:].square().mean(dim=1, keepdim=True).sqrt()),
                _log(scaled[:, -span:].abs().mean(dim=1, keepdim=True)),
                _log(spread[:, -span:].square().mean(dim=1, keepdim=True).sqrt()),
                _log(spread[:, -span:].mean(dim=1, keepdim=True)),
                _log(volume[:, -span:].mean(dim=1, keepdim=True)),
                _log(around[:, -span:].mean(dim=1, keepdim=True)),
                _squash(moved),
                _squash(torch.relu(-moved)),  # falls move volatility more than rises
            ]
        summary = torch.cat([*facts, self.scale(features), calendar(cutoff)], dim=1)
        return Observed(steps, summary, close[:, -1], volatility)


class PlainObservation(nn.Module):
    """See a plain series ``y``: its changes and its distance from the last value."""

    def __init__(self, window: int, decay: float, features: int, *, logarithmic: bool) -> None:
        super().__init__()
        self.spans = _spans(window)
        self.volatility = _Volatility(window, decay)
        self.scale = FeatureScaler(features)
        self.logarithmic = logarithmic
        self.length, self.channels = window - 1, 3
        self.facts = 2 * len(self.spans) + features + CALENDAR

    def forward(self, values: Tensor, cutoff: Tensor, features: Tensor) -> Observed:
        # values (batch, window, 1); cutoff (batch,) seconds; features (batch, features) float32
        level = torch.log(values[:, :, 0]) if self.logarithmic else values[:, :, 0]
        changes = level[:, 1:] - level[:, :-1]
        volatility = self.volatility(changes)
        scaled = (changes / volatility[:, None]).float()
        away = ((level[:, 1:] - level[:, -1:]) / volatility[:, None]).float()
        steps = torch.stack([_squash(scaled), _squash(scaled.abs()), _squash(away / 3)], dim=2)
        facts = []
        for span in self.spans:
            facts += [
                _log(scaled[:, -span:].square().mean(dim=1, keepdim=True).sqrt()),
                _squash(scaled[:, -span:].sum(dim=1, keepdim=True) / span**0.5),
            ]
        summary = torch.cat([*facts, self.scale(features), calendar(cutoff)], dim=1)
        return Observed(steps, summary, level[:, -1], volatility)


DAY_WAVES, WEEK_WAVES = 4, 3
CALENDAR = 2 * (DAY_WAVES + WEEK_WAVES)


def calendar(cutoff: Tensor) -> Tensor:
    """(batch, CALENDAR): time of day and of week, each as sines and cosines of a few waves."""
    day = (cutoff % DAY_S).float() * (2 * torch.pi / DAY_S)
    week = (cutoff % WEEK_S).float() * (2 * torch.pi / WEEK_S)
    angles = [wave * day for wave in range(1, DAY_WAVES + 1)] + [wave * week for wave in range(1, WEEK_WAVES + 1)]
    return torch.stack([turn(angle) for angle in angles for turn in (torch.sin, torch.cos)], dim=1)


def _spans(window: int) -> tuple[int, ...]:
    return (*(span for span in SPANS if span < window - 1), window - 1)


def _squash(value: Tensor) -> Tensor:
    """Let outliers be large but not unbounded: x for small x, log-like for large."""
    return torch.asinh(value)


def _log(ratio: Tensor) -> Tensor:
    return torch.log(ratio + 1e-3)
