"""What a training tells while it goes on: lines of JSON on standard output, after a mark."""

from __future__ import annotations

import json
import math
import re
import sys
from typing import Any

__all__ = ["MARK", "read_line", "report", "tell"]

# The record separator of ASCII; a line without it is log. Split lines at "\n" alone: str.splitlines also splits here.
MARK = "\x1e"
_MOST_VALUES = 32  # of one report
_MOST_TEXT = 200  # characters of a name or a text
_LARGEST = 2**63 - 1  # of whole numbers, beyond which not every reader of JSON goes
_HALF = re.compile("[\ud800-\udfff]")


def report(**values: object) -> None:
    """Show `values` live: numbers and short texts, such as ``report(epoch=3, loss=0.12)``."""
    tell("report", **values)


def tell(kind: str, /, **values: object) -> None:
    """Write one line; what is no number, truth value or text is told as its text."""
    told = {name[:_MOST_TEXT]: _plain(value) for name, value in list(values.items())[:_MOST_VALUES]}
    sys.stdout.write(f"\n{MARK}{json.dumps({**told, 'kind': kind})}\n")  # a script may have left a line unfinished
    sys.stdout.flush()


def read_line(line: str) -> dict[str, Any] | None:
    r"""What a line tells; None for a line of log, and for one that only looks like a report: `tell` writes no such one.

    Examples
    --------
    >>> read_line('\x1e{"epoch": 3, "kind": "report"}')
    {'epoch': 3, 'kind': 'report'}
    >>> read_line("epoch 3"), read_line("\x1e[3]"), read_line('\x1e{"loss": NaN, "kind": "report"}')
    (None, None, None)
    """
    if not line.startswith(MARK):
        return None
    try:
        told = json.loads(line[len(MARK) :])
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict) or not isinstance(told.get("kind"), str) or len(told) > _MOST_VALUES + 1:
        return None
    return told if all(_is_short(name) and _is_plain(value) for name, value in told.items()) else None


def _is_plain(value: object) -> bool:
    """Whether it can be stored and shown by whoever comes later."""
    if isinstance(value, str):
        return _is_short(value)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or (isinstance(value, int) and abs(value) <= _LARGEST)


def _is_short(text: str) -> bool:
    """Whether it is no longer than `tell` writes it, and has no halves of characters, which nobody can store."""
    return len(text) <= _MOST_TEXT and _HALF.search(text) is None


def _plain(value: object) -> str | float | int | bool | None:
    """JSON has no NaN, and the numbers of the frameworks have an ``item``."""
    item = getattr(value, "item", None)
    plain = item() if callable(item) and getattr(value, "size", 1) == 1 else value
    if plain is None or isinstance(plain, (bool, int)) or (isinstance(plain, float) and math.isfinite(plain)):
        return plain
    return str(plain)[:_MOST_TEXT]
