"""Passwords are never shown: what other programs say is cleaned of them before anybody reads it."""

from __future__ import annotations

import re

__all__ = ["without_password"]

IN_A_URL = re.compile(r"://(?:([^:/@\s]*:)[^@\s]*|[^:/@\s]+)@")


def without_password(words: object) -> str:
    """What a client or a program says, with the password or the token of any URL in it hidden.

    >>> without_password(OSError("amqp://me:word@host/ does not answer"))
    'amqp://me:***@host/ does not answer'
    >>> without_password("Looking in indexes: https://token@host/simple")
    'Looking in indexes: https://***@host/simple'
    """
    return IN_A_URL.sub(lambda found: f"://{found[1] or ''}***@", str(words))
