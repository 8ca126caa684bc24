"""What decides the shape of a network."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Layout"]


@dataclass(frozen=True, slots=True)
class Layout:
    """All that decides the shape of a network; weights of one layout fit another that is equal."""

    kind: Literal["candles", "plain"]
    network: Literal["classic", "lstm", "mixer", "nhits", "nlinear", "patch"]
    window: int
    horizon: int
    levels: tuple[float, ...]
    decay: float
    features: tuple[str, ...] = ()  # by name, in the order in which they are given
    season: int = 1  # steps after which a plain series repeats itself; 1 where changes have no season
    step_s: int = 0  # seconds of a step, where the network looks at the calendar of each
    logarithmic: bool = False  # whether ratios of a plain series are learned; those of candles always are

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the network takes, in order."""
        rows = ("candles", "market", "cutoff") if self.kind == "candles" else ("values", "cutoff")
        return (*rows, "features") if self.features else rows

    def facts(self) -> dict[str, Any]:
        """The layout as plain JSON."""
        return asdict(self)
