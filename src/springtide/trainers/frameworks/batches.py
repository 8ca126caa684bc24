"""What the two network frameworks share: the shape of a perceptron, and shuffled batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from springtide.trainers.frameworks.seam import Brief
    from springtide.trainers.validation import Rows

__all__ = ["CHUNK", "NETWORK_PARAMS", "Shape", "batch_size", "chunks", "shuffled", "target_scale"]

CHUNK = 4096  # rows of one pass without gradients
NETWORK_PARAMS = ("batch", "dropout", "epochs", "hidden", "learning_rate", "patience")


@dataclass(frozen=True, slots=True)
class Shape:
    """A multilayer perceptron; the numbers of a regression are `mean` + `scale` times its own."""

    hidden: tuple[int, ...]
    dropout: float
    outputs: int
    mean: float
    scale: float

    @classmethod
    def of(cls, training: Rows, brief: Brief) -> Shape:
        """Read the parameters, and the unit of the target from the training rows."""
        regression = brief.classes == 0
        return cls(
            hidden=brief.params.wholes("hidden", (64, 64), low=1, high=4096),
            dropout=brief.params.number("dropout", 0.0, low=0, high=0.9),
            outputs=max(1, brief.classes),
            mean=float(training.target.mean()) if regression else 0.0,
            scale=target_scale(training) if regression else 1.0,
        )


def target_scale(training: Rows) -> float:
    """The standard deviation of the target; 1 where it never changes."""
    return float(training.target.std()) or 1.0


def batch_size(brief: Brief, rows: int) -> int:
    """About a hundred steps an epoch, in batches of 32 to 1024 rows."""
    usual = 1 << int(np.clip(np.log2(max(1, rows / 100)), 5, 10))
    return brief.params.whole("batch", usual, low=1, high=1 << 20)


def shuffled(rows: int, batch: int, random: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Yield the places of the rows of each batch."""
    order = random.permutation(rows)
    for at in range(0, rows, batch):
        yield order[at : at + batch]


def chunks(inputs: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Yield (n, width) inputs in parts that fit into memory."""
    for at in range(0, len(inputs), CHUNK):
        yield inputs[at : at + CHUNK]
