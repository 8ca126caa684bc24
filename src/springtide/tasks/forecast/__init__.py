"""Forecasts of candles and plain series as quantiles of every step to come."""
