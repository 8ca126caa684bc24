"""The validation part: the last of the training rows, in the order of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from springtide.sdk import Refusal

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FEWEST_ROWS", "Rows", "first_of_validation"]

SHARE = 0.15
FEWEST_ROWS = 20


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Inputs and outcomes of n rows."""

    inputs: NDArray[np.float32]  # (n, width)
    target: NDArray[Any]  # (n,) float64 numbers or int64 places of classes

    def __len__(self) -> int:
        """How many rows."""
        return len(self.target)

    def split(self, first: int) -> tuple[Rows, Rows]:
        """Return the rows before `first`, and the others."""
        return Rows(self.inputs[:first], self.target[:first]), Rows(self.inputs[first:], self.target[first:])


def first_of_validation(n: int, times: NDArray[Any] | None = None) -> int:
    """Where the validation part begins; rows of one time stay together.

    Parameters
    ----------
    n : int
        How many training rows there are.
    times : (n,) array, optional
        Their times, in order.

    Raises
    ------
    Refusal
        If there are too few rows to learn and to look.

    Examples
    --------
    >>> first_of_validation(100)
    85
    >>> first_of_validation(100, np.repeat(np.arange(5), 20))
    80
    """
    if n < FEWEST_ROWS:
        raise Refusal(
            f"{n} rows are too few to learn from", where="the training rows", do=f"send {FEWEST_ROWS} or more"
        )
    first = n - max(2, round(n * SHARE))
    if times is None:
        return first
    whole = int(np.searchsorted(times, times[first], side="left"))
    return whole if whole >= n // 2 else first  # nearly all rows have one time: then their order has to do
