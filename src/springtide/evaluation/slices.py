"""Where and when a model is better: by slices of the judging items, and over the judging time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from springtide.evaluation.losses import Losses

__all__ = ["Slice", "mean_by_span", "skill_by_slice"]


@dataclass(frozen=True, slots=True)
class Slice:
    """Some of the judging items; `skill` is 1 - loss / rival's loss, above 0 where the challenger is better."""

    label: int
    items: int
    skill: float


def skill_by_slice(challenger: Losses, rival: Losses) -> dict[str, list[Slice]]:
    """The challenger's skill against a rival within each slice of their items, by what the labels say.

    For people: many comparisons, of which some look good by chance.

    Raises
    ------
    ValueError
        If the two were not asked for the same items.

    Examples
    --------
    >>> from springtide.evaluation.losses import Losses
    >>> times, groups, night = np.arange(4), np.full(4, "a"), {"night": np.array([0, 0, 1, 1])}
    >>> mine = Losses("loss", np.array([1.0, 1.0, 3.0, 3.0]), times, groups, slices=night)
    >>> skill_by_slice(mine, Losses("loss", np.full(4, 2.0), times, groups))
    {'night': [Slice(label=0, items=2, skill=0.5), Slice(label=1, items=2, skill=-0.5)]}
    """
    challenger.check_same_items(rival)
    return {name: _slices(labels, challenger.values, rival.values) for name, labels in challenger.slices.items()}


def _slices(labels: NDArray[np.int64], mine: NDArray[np.float64], rival: NDArray[np.float64]) -> list[Slice]:
    distinct, place, items = np.unique(labels, return_inverse=True, return_counts=True)
    sums, rival_sums = np.bincount(place, weights=mine), np.bincount(place, weights=rival)
    skill = 1 - np.divide(sums, rival_sums, out=np.ones_like(sums), where=rival_sums != 0)
    return [Slice(int(label), int(count), float(one)) for label, count, one in zip(distinct, items, skill, strict=True)]


def mean_by_span(losses: Losses, *, spans: int) -> tuple[list[int], list[float | None]]:
    """The mean loss in each of at most `spans` equal spans of the judging time; None where a span has no item.

    Returns
    -------
    starts : list of int
        Where each span begins, in the unit of ``losses.times``.
    means : list of float
        The mean loss of its items.

    Examples
    --------
    >>> from springtide.evaluation.losses import Losses
    >>> mean_by_span(Losses("loss", np.array([1.0, 3.0, 5.0]), np.array([10, 11, 13]), np.full(3, "a")), spans=2)
    ([10, 12], [2.0, 5.0])
    """
    first = int(losses.times.min())
    length = -(-(int(losses.times.max()) - first + 1) // spans)
    place = (losses.times - first) // length
    counts, sums = np.bincount(place), np.bincount(place, weights=losses.values)
    starts = [first + length * index for index in range(len(counts))]
    return starts, [float(total / count) if count else None for total, count in zip(sums, counts, strict=True)]
