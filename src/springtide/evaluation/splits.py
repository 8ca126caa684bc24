"""Where history is cut so that what is judged was never seen."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Fold", "walk_forward"]


@dataclass(frozen=True, slots=True)
class Fold:
    """One step of a walk through history, in seconds since 1970 UTC: judged from `start` until `stop`."""

    start: int
    stop: int


def walk_forward(*, last: int, span: int, folds: int) -> list[Fold]:
    """Cut the newest `span` seconds before `last` into equal folds, oldest first.

    A model judged on a fold is trained on what came before its start; the fold after it may learn from it.

    Source: rolling-origin evaluation, Tashman 2000, doi:10.1016/S0169-2070(00)00065-0.

    >>> walk_forward(last=100, span=40, folds=2)
    [Fold(start=60, stop=80), Fold(start=80, stop=100)]
    """
    if folds < 1 or span < folds:
        raise ValueError(f"{span} seconds cannot be cut into {folds} folds")
    edges = [last - span + span * index // folds for index in range(folds + 1)]
    return [Fold(start, stop) for start, stop in pairwise(edges)]
