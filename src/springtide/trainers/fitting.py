"""One training loop for every framework: until validation gets no better, or the budget is spent."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from springtide.sdk import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from springtide.sdk import Deadline

__all__ = ["Fitting", "Learner", "fit"]

_TELL_S = 0.5  # between two reports


class Learner(Protocol):
    """A model that learns; an epoch is one pass over the training part, one round of boosting, or one strength of shrinkage."""

    epochs: int  # the usual most
    patience: int  # the usual epochs without a better loss after which it stops

    def epoch(self, deadline: Deadline) -> None:
        """Learn; may stop in the middle when the deadline has passed."""

    def loss(self) -> float:
        """Return the validation loss: root mean squared error, or mean log loss; infinite while there is no answer yet."""

    def keep(self) -> None:
        """Take the present state as the best."""

    def restore(self) -> None:
        """Go back to the best state."""


@dataclass(frozen=True, slots=True)
class Fitting:
    """How a training went; its model is as it was after `best_epoch`."""

    epochs: int
    best_epoch: int  # 0 where the model is best as it came
    start_loss: float | None  # None where it could not answer yet
    loss: float
    stopped: Literal["no better", "budget", "epochs"]
    seconds: float


def fit(
    learner: Learner,
    *,
    epochs: int,
    patience: int,
    deadline: Deadline,
    tell: Callable[..., None],
    clock: Callable[[], float] = time.monotonic,
) -> Fitting:
    """Train `learner`, and keep what was best on the validation part; the model as it came is a candidate too.

    Parameters
    ----------
    learner : Learner
        What is trained.
    epochs : int
        The most epochs.
    patience : int
        Epochs without a better validation loss after which it stops.
    deadline : Deadline
        The end of the time budget.
    tell : callable
        Told ``"progress"`` with epoch, loss, best loss and seconds left, at most twice a second.

    Raises
    ------
    Refusal
        If the loss never was a finite number.
    """
    began = told = clock()
    start = best = learner.loss()
    learner.keep()
    epoch = best_epoch = 0
    stopped: Literal["no better", "budget", "epochs"] = "epochs"
    while epoch < epochs:
        learner.epoch(deadline)
        epoch += 1
        loss = learner.loss()
        if loss < best or (math.isnan(best) and not math.isnan(loss)):
            best, best_epoch = loss, epoch
            learner.keep()
        if clock() - told >= _TELL_S:
            told = clock()
            tell("progress", epoch=epoch, loss=loss, best=best, seconds_left=round(deadline.seconds_left, 1))
        if deadline.passed:
            stopped = "budget"
            break
        if epoch - best_epoch >= patience:
            stopped = "no better"
            break
    if not math.isfinite(best):
        raise Refusal(
            "the model never gave finite numbers",
            where=f"after {epoch} epochs",
            do="look for extreme values in the data, or lower params.learning_rate",
        )
    learner.restore()
    tell("progress", epoch=epoch, loss=best, best=best, seconds_left=round(deadline.seconds_left, 1))
    return Fitting(
        epochs=epoch,
        best_epoch=best_epoch,
        start_loss=start if math.isfinite(start) else None,
        loss=best,
        stopped=stopped,
        seconds=round(clock() - began, 3),
    )
