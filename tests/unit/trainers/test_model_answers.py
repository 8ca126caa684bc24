"""What a model's numbers are taken for."""

from __future__ import annotations

import numpy as np
import pytest

from springtide.sdk import Refusal
from springtide.trainers.answers import read_answer


def test_a_mean_that_has_no_square_is_refused() -> None:
    with pytest.raises(Refusal, match=r"answers with numbers beyond 1e\+150"):
        read_answer(np.array([1.0, -1e200]), 0, "mean")


def test_what_is_not_finite_is_left_to_whoever_asked() -> None:
    assert np.isnan(read_answer(np.array([1.0, np.nan]), 0, "mean")[1])
