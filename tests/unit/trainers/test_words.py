"""What is written twice, because the sandbox has nothing of the project but sdk and trainers, says the same."""

from __future__ import annotations

from typing import get_args

import numpy as np

from springtide.domain import job
from springtide.evaluation import parity as of_items
from springtide.pipeline.jobs import material, table
from springtide.trainers import formats, parity, proof, task


def test_a_job_may_ask_for_what_the_trainers_know_and_for_all_of_it() -> None:
    assert get_args(task.Question) == get_args(job.Question)
    assert task.FRAMEWORKS == job.FRAMEWORKS


def test_every_framework_has_an_environment_and_a_format() -> None:
    assert set(job.FRAMEWORKS) == set(formats.ENVIRONMENTS) - {"onnx"} == set(material.FORMAT_OF)


def test_a_graph_may_answer_with_as_many_numbers_as_a_table_may_have_classes() -> None:
    assert proof.MOST_NUMBERS >= table.MOST_CLASSES


def test_answers_to_rows_are_measured_together_and_forecasts_one_by_one() -> None:
    means, forecasts = np.array([[0.0], [2.0]]), np.array([[1e-3, 0.0], [100.0, 50.0]])
    assert parity.relative_difference(means + 1e-5, means) < parity.TOLERANCE
    assert of_items.relative_difference(means + 1e-5, means) > 1e3  # one of them passes through zero
    assert parity.relative_difference(forecasts + 1e-4, forecasts) < parity.TOLERANCE
    assert of_items.relative_difference(forecasts + 1e-4, forecasts) > 0.05  # the first series is small
