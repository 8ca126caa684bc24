"""Every error a person can fix.

SpringtideError                what, where, do; the HTTP status is on the class
├── SettingsError        400   springtide.toml, an environment variable or a flag is wrong
├── BadRows              422   rows that no model should learn from
├── BadMessage           422   a message of a stream that cannot be read
├── TooFewRows           422   not enough history for what was asked
├── TooLarge             413   more bytes than are taken at once
├── NotFound             404   no table, model, run, series of that name
├── Conflict             409   somebody else changed it first, or it answers another question
├── SourceUnavailable    502   an exchange or a service did not answer
├── CallsUsedUp          429   a service allows no more calls in this month or day
├── Leak                 500   a model would see what it is judged on
├── ModelRefused         409   a model file that is broken or does not reproduce its own answers
├── StoreFailed          507   the disk or the object store could not take or give bytes
├── NotReady             503   nothing to answer with yet
├── NotInstalled         503   NotReady, and waiting brings nothing: something is missing on this machine
├── ComputeFailed        503   a machine that was to do a task is not there
└── Expired              503   a model or its rows are too old to answer from
"""

from __future__ import annotations

import copyreg
import difflib
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

__all__ = [
    "BadMessage",
    "BadRows",
    "CallsUsedUp",
    "ComputeFailed",
    "Conflict",
    "Expired",
    "Leak",
    "ModelRefused",
    "NotFound",
    "NotInstalled",
    "NotReady",
    "SettingsError",
    "SourceUnavailable",
    "SpringtideError",
    "StoreFailed",
    "TooFewRows",
    "TooLarge",
    "did_you_mean",
]


class SpringtideError(Exception):
    """Something a person can fix: says what, where and what to do."""

    status: ClassVar[int] = 500

    def __init__(self, what: str, *, where: str, do: str) -> None:
        super().__init__(f"{what}\n  where: {where}\n  do: {do}")
        self.what, self.where, self.do = what, where, do

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors come back from other processes whole, whatever their constructors ask for."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined] # typeshed has no name for it

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a program may want to know besides."""
        return {}


class SettingsError(SpringtideError, ValueError):  # a ValueError, so that pydantic says which key it came from
    """springtide.toml, an environment variable or a flag is wrong."""

    status = 400


class BadRows(SpringtideError):
    """Rows that no model should learn from."""

    status = 422


class BadMessage(SpringtideError):
    """A message of a stream that cannot be read."""

    status = 422


class TooFewRows(SpringtideError):
    """Not enough history for what was asked."""

    status = 422


class TooLarge(SpringtideError):
    """More bytes than are taken at once."""

    status = 413


class NotFound(SpringtideError):
    """No table, model, run or series of that name."""

    status = 404


class Conflict(SpringtideError):
    """Somebody else changed it first, or it answers another question."""

    status = 409


class SourceUnavailable(SpringtideError):
    """An exchange or a service did not answer."""

    status = 502


class CallsUsedUp(SpringtideError):
    """A service allows no more calls in this month or day."""

    status = 429


class Leak(SpringtideError):
    """A model would see what it is judged on."""

    status = 500


class ModelRefused(SpringtideError):
    """A model file that is broken or does not reproduce its own answers."""

    status = 409


class StoreFailed(SpringtideError):
    """The disk or the object store could not take or give bytes."""

    status = 507


class NotReady(SpringtideError):
    """Nothing to answer with yet."""

    status = 503


class NotInstalled(NotReady):
    """Something is missing on this machine: waiting does not bring it."""


class ComputeFailed(SpringtideError):
    """A machine that was to do a task is not there."""

    status = 503


class Expired(SpringtideError):
    """A model or its rows are too old to answer from; `since` says from when on."""

    status = 503

    def __init__(self, what: str, *, where: str, do: str, since: datetime | None = None) -> None:
        super().__init__(what, where=where, do=do)
        self.since = since

    @property
    def facts(self) -> Mapping[str, Any]:
        """The state in the word that the lists of models use, and since when."""
        return {"state": "expired", "since": self.since}


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint for a mistyped word.

    >>> did_you_mean("horizn", ["horizon", "window"])
    "did you mean 'horizon'? known: horizon, window"
    >>> did_you_mean("zzz", ["horizon", "window"])
    'known: horizon, window'
    >>> did_you_mean("window", ["window"])
    'known: window'
    """
    names = sorted(known)
    close = difflib.get_close_matches(word, [name for name in names if name != word], n=1)
    listed = f"known: {', '.join(names) or 'none yet'}"
    return f"did you mean {close[0]!r}? {listed}" if close else listed
