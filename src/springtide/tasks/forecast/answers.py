"""What a trained forecaster answers: quantiles, and whether it should be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from springtide.tasks.forecast.items import Windows

__all__ = ["Answers", "Doubting"]


class Answers(NamedTuple):
    """The answers to n items."""

    quantiles: NDArray[np.float64]  # (n, horizon, levels) in the unit of the target
    doubtful: NDArray[np.bool_]  # (n,) true where the input is far from all that was trained on


@runtime_checkable
class Doubting(Protocol):
    """A predictor that knows which inputs are unlike those it was trained on."""

    def answer(self, windows: Windows, items: NDArray[np.int64]) -> Answers:
        """Quantiles and doubts of (n,) items."""
