"""Text that somebody else has chosen, fit to be said to people."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str, instead: str = " ") -> str:
    r"""The text with `instead` for every character that prints nothing: a terminal obeys some of them.

    >>> printable("done\x1b[2J\tü")
    'done [2J ü'
    """
    return "".join(letter if letter.isprintable() else instead for letter in text)
