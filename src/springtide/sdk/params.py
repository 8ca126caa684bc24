"""The parameters of a job, read with their limits."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from springtide.sdk.refusal import Refusal

__all__ = ["Params"]


class Params(Mapping[str, Any]):
    """Plain JSON by name; a wrong value is refused with its name, never repaired.

    Examples
    --------
    >>> params = Params({"learning_rate": 0.01, "hidden": [64, 32]})
    >>> params.number("learning_rate", 0.001, low=0, high=1)
    0.01
    >>> params.whole("epochs", 200, low=1)
    200
    >>> params.wholes("hidden", (64, 64), low=1)
    (64, 32)
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> Any:  # plain JSON
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def number(self, name: str, default: float, *, low: float = -1e308, high: float = 1e308) -> float:
        """Return a number from `low` to `high`, both included."""
        value = self._values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise self._wrong(name, f"a number from {low:g} to {high:g}")
        return float(value)

    def whole(self, name: str, default: int, *, low: int = 0, high: int = 1_000_000) -> int:
        """Return a whole number from `low` to `high`, both included."""
        return self._whole(name, self._values.get(name, default), low, high)

    def wholes(self, name: str, default: Iterable[int], *, low: int = 0, high: int = 1_000_000) -> tuple[int, ...]:
        """Return a list of whole numbers, each from `low` to `high`."""
        values = self._values.get(name, list(default))
        if not isinstance(values, list) or not values:
            raise self._wrong(name, f"a list of whole numbers from {low} to {high}")
        return tuple(self._whole(name, value, low, high) for value in values)

    def choice(self, name: str, default: str, choices: Iterable[str]) -> str:
        """Return one of `choices`."""
        known = tuple(choices)
        value = self._values.get(name, default)
        if value not in known:
            raise self._wrong(name, f"one of {', '.join(known)}")
        return str(value)

    def refuse_others(self, known: Iterable[str]) -> None:
        """Refuse a name that nobody reads, with the one that may have been meant.

        Raises
        ------
        Refusal
            If there is a parameter that is not `known`.
        """
        names = sorted(known)
        for name in sorted(set(self._values) - set(names)):
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise Refusal(f"no parameter {name!r}", where=f"params.{name}", do=f"{hint}known: {', '.join(names)}")

    def _whole(self, name: str, value: object, low: int, high: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._wrong(name, f"a whole number from {low} to {high}")
        return value

    def _wrong(self, name: str, wanted: str) -> Refusal:
        return Refusal(f"{self._values.get(name)!r:.100} is not {wanted}", where=f"params.{name}", do=f"give {wanted}")
