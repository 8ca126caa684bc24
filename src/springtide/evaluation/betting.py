"""Losses in blocks of time whose outcomes do not overlap, and how much of a wealth is bet on each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from springtide.evaluation.losses import Losses

__all__ = ["BETS", "Blocks", "cut_blocks", "gains_of"]

BETS = np.array([0.05, 0.1, 0.2, 0.4, 0.7, 0.95])  # shares of the wealth that are staked on each block, side by side
# A block's mean difference is cut off at so many root mean squares of the blocks before it. Narrower is quicker, but many
# small gains then outweigh a few large losses (benchmarks/false_promotions.py, lopsided).
WIDTH = 2.5
FEWEST = 3  # blocks that must be known before one is bet on: they set the scale
ROUNDING = 1e-9  # of the rival's loss: differences below it are the order of a sum, not skill


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """The whole blocks of a run.

    `numbers` (k,) are the same in every run; `place` (n,) says to which of them each item belongs, k where to none.
    Blocks of one of the `sequences` do not touch, so that each is known before the next of them begins.
    """

    length: int
    sequences: int
    numbers: NDArray[np.int64]
    place: NDArray[np.int64]

    @property
    def end(self) -> int | None:
        """Where the newest block ends, in the unit of the prediction times."""
        return int(self.numbers[-1] + 1) * self.length if len(self.numbers) else None

    def means(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(k,) the mean of (n,) values in each block."""
        inside = self.place < len(self.numbers)
        place, count = self.place[inside], len(self.numbers)
        found: NDArray[np.float64] = np.bincount(place, values[inside], count) / np.bincount(place, minlength=count)
        return found


def cut_blocks(losses: Losses) -> Blocks:
    """Blocks of ``overlap + 1`` prediction times, the same ones in every run; those cut off at an end are left out."""
    length = (losses.overlap + 1) * losses.step
    every, place = np.unique(losses.times // length, return_inverse=True)
    starts = every * length
    whole = (starts >= losses.times.min()) & (starts + length - losses.step <= losses.times.max())
    target = np.where(whole, np.cumsum(whole) - 1, whole.sum())
    return Blocks(length, 2 if losses.overlap else 1, every[whole], target[place])


def gains_of(
    blocks: Blocks, challenger: NDArray[np.float64], rival: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(k,) gain of each block between -1 and 1 in units of the scale before it, and whether there is a scale yet."""
    differences, level = blocks.means(rival - challenger), blocks.means(rival)
    known = np.searchsorted(
        blocks.numbers, blocks.numbers - blocks.sequences, side="right"
    )  # blocks known before each begins
    divisor = np.maximum(known, 1)
    scale = np.sqrt(_before(np.square(differences), known) / divisor)
    smallest = ROUNDING * np.abs(_before(level, known) / divisor)
    width = np.maximum(WIDTH * scale, smallest)
    gains = np.clip(np.divide(differences, width, out=np.zeros_like(differences), where=width != 0), -1.0, 1.0)
    return np.nan_to_num(gains, nan=-1.0), known >= FEWEST  # a loss that is no number is the worst


def _before(values: NDArray[np.float64], known: NDArray[np.int64]) -> NDArray[np.float64]:
    """(k,) the sum of the first ``known[i]`` values."""
    sums: NDArray[np.float64] = np.concatenate([[0.0], np.cumsum(values)])[known]
    return sums
