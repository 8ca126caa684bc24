"""When a model and its rows grow too old to answer from; the clock decides when the question is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from springtide.domain.errors import Expired
from springtide.domain.units import format_span

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from springtide.domain.model import Version
    from springtide.settings.words import Expires

__all__ = ["Expiry", "data_expiry", "expired", "first_moment", "model_expiry"]


@dataclass(frozen=True, slots=True)
class Expiry:
    """From `at` on there is no answer; `what` has grown too old then, and `do` mends it."""

    at: datetime
    what: str
    do: str


def model_expiry(version: Version, limits: Expires) -> tuple[Expiry, ...]:
    """When a version is too old: its age counts from the latest outcome it has seen, else from when it was made."""
    if limits.model is None:
        return ()
    name, seen = version.model, version.manifest.trained_until or version.manifest.created
    return (
        Expiry(
            seen + limits.model,
            f"{version.name} has seen nothing after {_words(seen)}, and expires.model is {format_span(limits.model)}",
            f"run `springtide retrain {name}`; where the new version is kept back, `springtide promote {name}@NUMBER` lets "
            "it serve by hand",
        ),
    )


def data_expiry(series: str, closed: datetime, limits: Expires) -> tuple[Expiry, ...]:
    """When the rows of a series are too old: their age counts from when the newest one closed."""
    if limits.data is None:
        return ()
    return (
        Expiry(
            closed + limits.data,
            f"the newest row of {series} closed at {_words(closed)}, and expires.data is {format_span(limits.data)}",
            "bring in newer rows with `springtide ingest`, or send rows to /predict",
        ),
    )


def first_moment(expiries: Iterable[Expiry]) -> datetime | None:
    """The first moment without an answer; None: there is no end."""
    return min((expiry.at for expiry in expiries), default=None)


def expired(expiries: Sequence[Expiry], now: datetime, *, where: str) -> Expired | None:
    """Why there is no answer at `now`; None while there is one."""
    passed = [expiry for expiry in expiries if now >= expiry.at]
    since = first_moment(passed)
    if since is None:
        return None
    return Expired(
        f"expired since {_words(since)}: {'; '.join(expiry.what for expiry in passed)}",
        where=where,
        do="; ".join(expiry.do for expiry in passed),
        since=since,
    )


def _words(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
