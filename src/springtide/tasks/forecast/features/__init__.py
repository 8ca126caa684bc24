"""Facts at the cutoff that stand beside a window: indicators, more timeframes, other series, the calendar, outside tables."""
