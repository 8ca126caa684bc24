"""The training loop: it stops, keeps the best, and never makes a model worse than it came."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from springtide.sdk import Deadline, Refusal
from springtide.trainers.answers import infer_output, measure, read_answer
from springtide.trainers.fitting import Fitting, fit
from springtide.trainers.parity import relative_difference
from springtide.trainers.validation import first_of_validation

if TYPE_CHECKING:
    from collections.abc import Sequence


class Scripted:
    """A learner whose losses are known beforehand."""

    epochs = patience = 100

    def __init__(self, losses: Sequence[float]) -> None:
        self.losses, self.at, self.best = losses, 0, -1

    def epoch(self, deadline: Deadline) -> None:
        self.at += 1

    def loss(self) -> float:
        return self.losses[self.at]

    def keep(self) -> None:
        self.best = self.at

    def restore(self) -> None:
        self.at = self.best


def run(
    losses: Sequence[float], *, epochs: int = 100, patience: int = 3, seconds: float = 1e9
) -> tuple[Fitting, Scripted]:
    learner, ticks = Scripted(losses), iter(range(10_000))
    clock = lambda: float(next(ticks))  # noqa: E731 - a second passes with each look at it
    told: list[dict[str, Any]] = []
    fitting = fit(
        learner,
        epochs=epochs,
        patience=patience,
        deadline=Deadline(seconds, clock=clock),
        tell=lambda kind, **values: told.append(values),
        clock=clock,
    )
    assert told[-1]["loss"] == fitting.loss
    return fitting, learner


def test_it_stops_when_validation_gets_no_better_and_goes_back_to_the_best() -> None:
    fitting, learner = run([5, 4, 3, 6, 6, 6, 1])
    assert (fitting.stopped, fitting.epochs, fitting.best_epoch, fitting.loss) == ("no better", 5, 2, 3)
    assert learner.at == 2


def test_a_model_that_learns_nothing_is_given_back_as_it_came() -> None:
    fitting, learner = run([1, 2, 3, 4])
    assert (fitting.best_epoch, fitting.start_loss, fitting.loss) == (0, 1, 1)
    assert learner.at == 0


def test_it_stops_when_the_time_is_over() -> None:
    fitting, _ = run(range(100, 0, -1), seconds=30)
    assert fitting.stopped == "budget"
    assert 1 <= fitting.epochs < 30


def test_it_stops_after_the_last_epoch() -> None:
    assert run([3, 2, 1, 0], epochs=2)[0].stopped == "epochs"


def test_a_start_that_cannot_answer_has_no_loss() -> None:
    assert run([math.inf, 2, 1, 3, 3, 3])[0].start_loss is None


@pytest.mark.parametrize("start", [math.nan, math.inf])
def test_a_model_that_never_gives_numbers_is_refused(start: float) -> None:
    with pytest.raises(Refusal, match="never gave finite numbers"):
        run([start, math.nan, math.nan, math.nan, math.nan])


def test_one_bad_epoch_does_not_end_a_training() -> None:
    assert run([math.nan, 2, math.nan, 1, 2, 2, 2])[0].loss == 1


@pytest.mark.parametrize(
    ("raw", "classes", "output"),
    [
        ([[1.5], [2.0]], 0, "mean"),
        ([1.5, 2.0], 0, "mean"),
        ([[0.2, 0.8], [0.5, 0.5]], 2, "probabilities"),
        ([[0.2], [0.8]], 2, "probabilities"),
        ([[-0.2], [0.8]], 2, "logits"),
        ([[0.2, 0.2], [0.5, 0.5]], 2, "logits"),
    ],
)
def test_what_numbers_are_is_seen_from_answers(raw: list[Any], classes: int, output: str) -> None:
    assert infer_output(np.array(raw), classes) == output


@pytest.mark.parametrize(("shape", "classes"), [((4, 2), 0), ((4, 3), 2), ((4, 1), 3), ((4, 2, 2), 4)])
def test_an_answer_of_another_shape_is_refused(shape: tuple[int, ...], classes: int) -> None:
    with pytest.raises(Refusal, match="the model answers with the shape"):
        infer_output(np.zeros(shape), classes)


def test_logits_and_their_probabilities_are_one_answer() -> None:
    logits = np.array([[-700.0, 700.0], [0.3, -0.2]])
    odds = 1 / (1 + np.exp(-(logits[:, 1] - logits[:, 0])))
    one = (logits[:, 1] - logits[:, 0])[:, None]
    np.testing.assert_allclose(read_answer(logits, 2, "logits")[:, 1], odds)
    np.testing.assert_allclose(read_answer(one, 2, "logits"), read_answer(logits, 2, "logits"), atol=1e-300)


def test_a_sure_and_wrong_answer_costs_much_and_not_all() -> None:
    assert 30 < measure(np.array([[1.0, 0.0]]), np.array([1])) < math.inf


def test_answers_of_another_shape_or_without_a_number_never_agree() -> None:
    assert relative_difference(np.zeros((3, 2)), np.zeros((3, 1))) == math.inf
    assert not relative_difference(np.array([math.nan, 1.0]), np.ones(2)) <= 1e9


def test_rows_of_one_time_are_all_on_one_side() -> None:
    times = np.repeat(np.arange(10), 10)
    first = first_of_validation(100, times)
    assert times[first - 1] < times[first]


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(Refusal, match="19 rows are too few"):
        first_of_validation(19)
