"""Numbers and names as people read them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LONGEST_LIST", "MINUS", "chance", "count", "figure", "listed", "percent", "plain", "seconds", "when"]

LONGEST_LIST = 6  # names in one sentence
MINUS = "\N{MINUS SIGN}"


def count(number: float) -> str:
    """A whole number.

    >>> count(4274)
    '4,274'
    """
    return f"{number:,.0f}"


def figure(value: float | None) -> str:
    """A number with four digits; a dash where there is none.

    >>> figure(0.00582), figure(float("nan"))
    ('0.005820', '-')
    """
    if value is None or math.isnan(value):
        return "-"
    return f"{value:#.4g}"


def percent(share: float | None, *, sign: bool = True) -> str:
    """A share in per cent; a dash where there is none.

    >>> percent(0.0123), percent(0.0123, sign=False), percent(-1e-9)
    ('+1.23 %', '1.23 %', '0.00 %')
    """
    if share is None or math.isnan(share):
        return "-"
    rounded = round(100 * share, 2) or 0.0  # no sign at zero
    said = f"{rounded:+.2f}" if sign and rounded else f"{rounded:.2f}"
    return f"{said.replace('-', MINUS)} %"


def chance(p_value: float) -> str:
    """A p-value with the digits that mean something, as it stands behind its name.

    >>> chance(0.2787), chance(2e-26)
    ('= 0.28', '< 0.001')
    """
    return "< 0.001" if p_value < 0.001 else f"= {'-' if math.isnan(p_value) else f'{p_value:.2g}'}"


def seconds(spent: float | None) -> str:
    """A duration.

    >>> seconds(0.034), seconds(75.2), seconds(None)
    ('0.03 s', '75.2 s', '')
    """
    if spent is None:
        return ""
    return f"{spent:.2f} s" if spent < 10 else f"{spent:,.1f} s"


def when(moment: datetime | None) -> str:
    """A UTC time to the minute."""
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    >>> listed(["a", "b", "c"]), listed([str(one) for one in range(9)])
    ('a, b and c', '0, 1, 2, 3, 4 and 4 others')
    """
    if len(names) > LONGEST_LIST:
        shown = LONGEST_LIST - 1
        names = [*names[:shown], f"{len(names) - shown} others"]
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def plain(value: Any) -> str:
    """A value of a record in one line.

    >>> plain(4274), plain(0.5), plain(None), plain(["a", 1])
    ('4,274', '0.5', '-', '["a",1]')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return when(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return count(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else msgspec.json.encode(value).decode()
