"""Spans of time and amounts of memory as people write them: ``1h``, ``5m``, ``2y``; ``4GB``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from springtide.domain.errors import SettingsError

__all__ = ["MONDAY", "format_span", "parse_bytes", "parse_span", "steps_per_day"]

MONDAY = datetime(1970, 1, 5, tzinfo=UTC)  # where spans of more than a day are counted from: weeks begin on Mondays
MOST_SECONDS = 1000 * 31_536_000
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}


def parse_span(text: str) -> timedelta:
    """Read a whole number and a unit: s, m (minutes), h, d, w or y (365 days).

    >>> parse_span("90m")
    datetime.timedelta(seconds=5400)
    >>> parse_span("2y").days
    730
    """
    match = re.fullmatch(r"(\d+)([smhdwy])", text.strip())
    if match is None or int(match[1]) == 0:
        raise SettingsError(
            f"{text!r} is not a span of time",
            where="a timeframe, history, period or budget",
            do="write a whole number and a unit: 30s, 5m, 1h, 7d, 2w or 2y",
        )
    seconds = int(match[1]) * _SECONDS[match[2]]
    if seconds > MOST_SECONDS:
        raise SettingsError(
            f"{text!r} is longer than a thousand years", where="a span of time", do="write a shorter span"
        )
    return timedelta(seconds=seconds)


def format_span(span: timedelta) -> str:
    """The shortest way to write a span.

    >>> format_span(timedelta(hours=24)), format_span(timedelta(minutes=90))
    ('1d', '90m')
    """
    seconds = int(span.total_seconds())
    unit = next(u for u in ("w", "d", "h", "m", "s") if seconds % _SECONDS[u] == 0)
    return f"{seconds // _SECONDS[unit]}{unit}"


def parse_bytes(text: str) -> int:
    """Read a number and a unit of memory: KB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB.

    >>> parse_bytes("4GB"), parse_bytes("1.5 GiB")
    (4000000000, 1610612736)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT])(i?)B", text.strip())
    if match is None or float(match[1]) == 0:
        raise SettingsError(
            f"{text!r} is not an amount of memory", where="a limit", do="write a number and a unit: 512MB, 4GB, 8GiB"
        )
    return int(float(match[1]) * (1024 if match[3] else 1000) ** ("KMGT".index(match[2]) + 1))


def steps_per_day(step_s: int) -> int:
    """Steps of ``step_s`` seconds in a day, at least one.

    >>> steps_per_day(3600), steps_per_day(604_800)
    (24, 1)
    """
    return max(1, 86_400 // step_s)
