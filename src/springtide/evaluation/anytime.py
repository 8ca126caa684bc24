"""Evidence that stays valid however often one retrains and looks; it carries on from run to run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from springtide.evaluation.betting import BETS, cut_blocks, gains_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from springtide.evaluation.betting import Blocks
    from springtide.evaluation.losses import Losses

__all__ = ["BETS", "Evidence", "Wealth", "gather_evidence"]

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
    """What the runs of one reign have found, rival by rival. Plain JSON through `plain` and `read`.

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
    clock : str
        What the prediction times count; by another clock it begins anew, and what was counted says nothing.
    """

    champion: str | None
    block: int
    counted_until: int | None = None
    rivals: Mapping[str, Wealth] = field(default_factory=dict)
    question: str | None = None
    clock: str = ""

    @staticmethod
    def read(raw: Mapping[str, Any] | None) -> Evidence | None:
        """The evidence that a verdict holds; None where it holds none."""
        if raw is None:
            return None
        return Evidence(**{**raw, "rivals": {name: Wealth(**one) for name, one in raw["rivals"].items()}})

    def plain(self) -> dict[str, Any]:
        """What a verdict holds; of a clock only where it is one of its own, so that old verdicts can be repeated."""
        raw = asdict(self)
        return raw if self.clock else {name: value for name, value in raw.items() if name != "clock"}


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
    Let z be a block's mean difference (rival's loss minus challenger's) over 2.5 root mean squares of the blocks
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
    cut, question = cut_blocks(challenger), _question(challenger)
    if before is not None and before.clock != challenger.clock:
        before = None
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
        gains, bet_on = gains_of(cut, challenger.values, rival.values)
        wealths[name] = _grow(known.get(name, nothing), cut, gains, bet_on & fresh)
    ends = [end for end in (counted_until, cut.end) if end is not None]
    return Evidence(champion, cut.length, max(ends, default=None), wealths, question, challenger.clock)


def _question(losses: Losses) -> str:
    """A digest of what was asked: by the settings, or else about which groups."""
    asked = losses.question or repr(np.unique(losses.groups).tolist())
    return sha256(f"{losses.name} {asked}".encode()).hexdigest()[:16]


def _grow(wealth: Wealth, cut: Blocks, gains: NDArray[np.float64], counted: NDArray[np.bool_]) -> Wealth:
    growth = np.log1p(gains[counted, None] * BETS)  # (blocks, bets)
    sequence = cut.numbers[counted] % cut.sequences
    logs = [(np.array(log) + growth[sequence == number].sum(axis=0)).tolist() for number, log in enumerate(wealth.logs)]
    return Wealth(wealth.blocks + int(counted.sum()), logs)
