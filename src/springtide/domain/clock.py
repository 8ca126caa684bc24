"""The clock on the wall; everything that needs the time takes one as an argument, and this is what it is by default."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["utc_now"]


def utc_now() -> datetime:
    """The time now, with its zone."""
    return datetime.now(UTC)
