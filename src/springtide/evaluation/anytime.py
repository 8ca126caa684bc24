"""Evidence that stays valid however often one retrains and looks; it carries on from run to run."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from springtide.evaluation.losses import Losses

__all__ = ["BETS", "Evidence", "Wealth", "gather_evidence"]

BETS = np.array([0.05, 0.1, 0.2, 0.4, 0.7, 0.95])  # shares of the wealth that are staked on each block, side by side
# A block's mean difference is cut off at so many root mean squares of the blocks before it. Narrower is quicker, but many
# small gains then outweigh a few large losses (benchmarks/false_promotions.py, lopsided).
WIDTH = 2.5
FEWEST = 3  # blocks that must be known before one is bet on: they set the scale
ROUNDING = 1e-9  # of the rival's loss: differences below it are the order of a sum, not skill
HIGHEST = 1e9  # an e-value is shown up to here


@dataclass(frozen=True, slots=True)
class Wealth:
    """What betting against one rival has come to.

    Attributes
    ----------
    blocks : int
        Blocks that were bet on.
    logs : list
        For each sequence of blocks the logarithm of the wealth of each of `BETS`; it begins at 0.
    """

    blocks: int
    logs: list[list[float]]

    @property
    def e_value(self) -> float:
        """The larger wealth over the number of sequences: so 1 at the beginning, or a half where there are two.

        It ever reaches 1 / alpha with a chance of at most alpha if there is nothing to find.

        >>> Wealth(0, [[0.0] * 6]).e_value
        1.0
        """
        grown = float(np.exp(np.minimum(self.logs, np.log(HIGHEST))).mean(axis=1).max())
        return grown / len(self.logs)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the runs of one reign have found, rival by rival. Plain JSON through `dataclasses.asdict` and `read`.

    Attributes
    ----------
    champion : str, optional
        Who served; under another champion the evidence begins anew.
    block : int
        Length of a block, in the unit of the prediction times; with another length it begins anew, too.
    counted_until : int, optional
        No block that begins earlier is counted again, whoever serves.
    rivals : mapping
        The wealth by rival.
    question : str, optional
        A digest of what was asked; where something else is, it begins anew.
    """

    champion: str | None
    block: int
    counted_until: int | None = None
    rivals: Mapping[str, Wealth] = field(default_factory=dict)
    question: str | None = None

    @staticmethod
    def read(raw: Mapping[str, Any] | None) -> Evidence | None:
        """The evidence that a verdict holds; None where it holds none."""
        if raw is None:
            return None
        return Evidence(**{**raw, "rivals": {name: Wealth(**one) for name, one in raw["rivals"].items()}})


def gather_evidence(
    challenger: Losses, rivals: Mapping[str, Losses], *, champion: str | None, before: Evidence | None
) -> Evidence:
    """Add the blocks that no run has counted yet to the evidence of the runs before.

    Time is cut into blocks of ``overlap + 1`` prediction times, the same ones in every run. In each block the
    challenger bets that its mean loss will be below the rival's. A block is counted once, by the first run that has
    all of it, for the challenger of that run, which was trained before the block began.

    Parameters
    ----------
    challenger : Losses
        The new model's losses.
    rivals : mapping
        Losses on the same items, by name.
    champion : str, optional
        Who serves.
    before : Evidence, optional
        Of the newest run before this one.

    Raises
    ------
    ValueError
        If a rival was not asked for the same items.

    Notes
    -----
    Let z be a block's mean difference (rival's loss minus challenger's) over `WIDTH` root mean squares of the blocks
    known before it, cut off at -1 and 1. As long as the running sum of the conditional means of z is not above 0 (the
    challengers of the reign were on average no better), the wealth prod(1 + b z) of a fixed bet b is at most a
    non-negative martingale, because prod(1 + b E[z]) <= exp(b sum(E[z])) <= 1; so by Ville's inequality the mean
    wealth over `BETS` ever reaches 2 / alpha with a chance of at most alpha / 2. The outcomes of a block are known
    only when the next block is over, so even and odd blocks are two sequences with bets of their own, and with the
    union bound over the two the larger wealth, halved, ever reaches 1 / alpha with a chance of at most alpha.

    Sources: Ville 1939, Etude critique de la notion de collectif; betting, Waudby-Smith & Ramdas 2023,
    doi:10.1093/jrsssb/qkad009; forecasts compared by e-processes, Henzi & Ziegel 2022, arXiv:2103.08402, and, for
    average instead of pointwise superiority, Choe & Ramdas 2023, arXiv:2110.00115.
    """
    cut, question = _cut(challenger), _question(challenger)
    reign = champion, cut.length, question
    same_reign = before is not None and (before.champion, before.block, before.question) == reign
    known = before.rivals if before is not None and same_reign else {}
    counted_until = None if before is None else before.counted_until
    fresh = np.ones(len(cut.numbers), dtype=np.bool_)
    if counted_until is not None:
        fresh = cut.numbers * cut.length >= counted_until
    nothing = Wealth(0, np.zeros((cut.sequences, len(BETS))).tolist())
    wealths = {}
    for name, rival in rivals.items():
        challenger.check_same_items(rival)
        gains, bet_on = _gains(cut, challenger.values, rival.values)
        wealths[name] = _grow(known.get(name, nothing), cut, gains, bet_on & fresh)
    ends = [end for end in (counted_until, cut.end) if end is not None]
    return Evidence(champion, cut.length, max(ends, default=None), wealths, question)


def _question(losses: Losses) -> str:
    """A digest of what was asked: by the settings, or else about which groups."""
    asked = losses.question or repr(np.unique(losses.groups).tolist())
    return sha256(f"{losses.name} {asked}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, eq=False)
class _Cut:
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
        return int(self.numbers[-1] + 1) * self.length if len(self.numbers) else None

    def means(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(k,) the mean of (n,) values in each block."""
        inside = self.place < len(self.numbers)
        place, count = self.place[inside], len(self.numbers)
        found: NDArray[np.float64] = np.bincount(place, values[inside], count) / np.bincount(place, minlength=count)
        return found


def _cut(losses: Losses) -> _Cut:
    length = (losses.overlap + 1) * losses.step
    every, place = np.unique(losses.times // length, return_inverse=True)
    starts = every * length
    whole = (starts >= losses.times.min()) & (starts + length - losses.step <= losses.times.max())
    target = np.where(whole, np.cumsum(whole) - 1, whole.sum())
    return _Cut(length, 2 if losses.overlap else 1, every[whole], target[place])


def _gains(
    cut: _Cut, challenger: NDArray[np.float64], rival: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(k,) gain of each block between -1 and 1 in units of the scale before it, and whether there is a scale yet."""
    differences, level = cut.means(rival - challenger), cut.means(rival)
    known = np.searchsorted(cut.numbers, cut.numbers - cut.sequences, side="right")  # blocks known before each begins
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


def _grow(wealth: Wealth, cut: _Cut, gains: NDArray[np.float64], counted: NDArray[np.bool_]) -> Wealth:
    growth = np.log1p(gains[counted, None] * BETS)  # (blocks, bets)
    sequence = cut.numbers[counted] % cut.sequences
    logs = [(np.array(log) + growth[sequence == number].sum(axis=0)).tolist() for number, log in enumerate(wealth.logs)]
    return Wealth(wealth.blocks + int(counted.sum()), logs)
