"""The text by which classes and levels of a category are known, in training and when serving."""

from __future__ import annotations

import numpy as np

__all__ = ["label"]


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
