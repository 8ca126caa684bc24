"""The network of Make Us Rich: an LSTM over scaled prices and the calendar that says the next close."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from springtide.tasks.forecast.networks.observation import CandleObservation, FeatureScaler, Observed

if TYPE_CHECKING:
    from springtide.tasks.forecast.networks.layout import Layout

__all__ = ["ClassicHead", "ClassicLstm", "ClassicObservation"]

DAY_S = 86_400
PRICES = 5  # open, high, low, close, close - open
LEAST = 1e-3  # of the lowest close: a price stays positive
HIGHEST = (6.0, 31.0, 53.0, 12.0)  # day of week from 0; day of month, week and month from 1


class ClassicObservation(nn.Module):
    """See day of week, day of month, week, month, open, high, low, close and close - open, each between -1 and 1.

    Prices are scaled by their least and largest value in the training part, and by nothing newer. All else that a
    forecaster needs (volatility, circumstances) is what other networks of candles see.

    Source: https://github.com/ChainYo/make-us-rich, whose scaler was fitted on all rows.
    """

    low: Tensor
    high: Tensor
    back: Tensor

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.usual = CandleObservation(layout.window, layout.decay, len(layout.features))
        self.facts = self.usual.facts
        self.length, self.channels = layout.window, len(HIGHEST) + PRICES
        self.register_buffer("low", torch.zeros(PRICES, dtype=torch.float64))
        self.register_buffer("high", torch.ones(PRICES, dtype=torch.float64))
        back = torch.arange(-layout.window + 1, 1, dtype=torch.int64) * layout.step_s
        self.register_buffer("back", back, persistent=False)  # (window,) seconds from the cutoff

    @property
    def scale(self) -> FeatureScaler:
        """Of the features, which only its circumstances have."""
        return self.usual.scale

    def fit(self, candles: Tensor) -> None:
        """Learn the range of (rows, 5) candles of the training part."""
        prices = _prices(candles)
        self.low.copy_(prices.amin(dim=0))
        self.high.copy_(prices.amax(dim=0))

    def forward(self, candles: Tensor, market: Tensor, cutoff: Tensor, features: Tensor) -> Observed:
        # as `CandleObservation`; steps (batch, window, 9)
        observed: Observed = self.usual(candles, market, cutoff, features)
        prices = 2 * (_prices(candles) - self.low) / (self.high - self.low) - 1
        dates = calendar_dates(cutoff[:, None] + self.back)
        limits = zip(dates, (0.0, 1.0, 1.0, 1.0), HIGHEST, strict=True)
        scaled = [2 * (date.double() - least) / (most - least) - 1 for date, least, most in limits]
        steps = torch.cat([torch.stack(scaled, dim=2), prices], dim=2).float()
        return observed._replace(steps=steps)


class ClassicLstm(nn.Module):
    """Two stacked LSTM layers of 128 units; the last state is all that is kept."""

    def __init__(self, channels: int, *, width: int = 128, layers: int = 2) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(channels, width, num_layers=layers, batch_first=True)
        self.features = width

    def forward(self, observed: Observed) -> Tensor:  # -> (batch, features)
        states, _ = self.recurrent(observed.steps)
        last: Tensor = states[:, -1]
        return last


class ClassicHead(nn.Module):
    """The scaled close of each step by one linear layer; around it the spread of the volatility baseline."""

    spread: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, features: int, table: Tensor) -> None:
        # table (horizon, levels): quantiles of changes in units of volatility
        super().__init__()
        self.close = nn.Linear(features, len(table))
        self.register_buffer("low", torch.zeros((), dtype=torch.float64))
        self.register_buffer("high", torch.ones((), dtype=torch.float64))
        middle = table[:, table.shape[1] // 2, None]
        self.register_buffer("spread", (table - middle).double().contiguous())  # (horizon, levels)

    def fit(self, closes: Tensor) -> None:
        """Learn the range of (rows,) closes of the training part."""
        self.low.copy_(closes.min())
        self.high.copy_(closes.max())

    def forward(self, features: Tensor, observed: Observed) -> Tensor:  # -> (batch, horizon, levels) float64
        close = self.low + (self.close(features).double() + 1) / 2 * (self.high - self.low)
        level = torch.log(torch.maximum(close, LEAST * self.low))[:, :, None]
        return torch.exp(level + observed.volatility[:, None, None] * self.spread)


def calendar_dates(seconds: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Day of week (0: Monday), day of month, week of the year and month of times in seconds since 1970 UTC, as int64.

    The week is the whole sevens of days since the first of January, and one.

    Source of the month and its day: Hinnant 2013, http://howardhinnant.github.io/date_algorithms.html (civil_from_days).
    """
    days = seconds // DAY_S
    since_march = days + 719_468  # days since 1 March of year 0
    era = since_march // 146_097
    day_of_era = since_march - era * 146_097
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)  # from 1 March
    shifted = (5 * day_of_year + 2) // 153  # 0: March
    day = day_of_year - (153 * shifted + 2) // 5 + 1
    new_year = (shifted >= 10).long()  # January and February
    month = shifted + 3 - 12 * new_year
    before = year_of_era + era * 400 + new_year - 1  # the year before this one
    first = 365 * before + before // 4 - before // 100 + before // 400 - 719_162  # 1 January, days since 1970
    return (days + 3) % 7, day, (days - first) // 7 + 1, month


def _prices(candles: Tensor) -> Tensor:  # (..., 5) -> (..., 5): close - open in the place of volume
    return torch.cat([candles[..., :4], candles[..., 3:4] - candles[..., 0:1]], dim=-1)
