"""The text by which classes and levels of a category are known, in training and when serving."""

from __future__ import annotations

import numpy as np

__all__ = ["label", "level"]

_TRUTHS = ("true", "false")


def label(value: object) -> str:
    """The text that names a class or a level.

    >>> label(True), label(3), label(3.0), label(np.int8(3)), label("a b")
    ('true', '3', '3', '3', 'a b')
    """
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value)).lower()
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def level(value: object) -> str:
    """The text that names a level: a truth has one, however it is spelled.

    >>> level(True), level("True"), level("FALSE"), level("Tver"), level(3.0)
    ('true', 'true', 'false', 'Tver', '3')
    """
    text = label(value)
    return lowered if (lowered := text.lower()) in _TRUTHS else text
