"""LightGBM: boosted trees, new or continued."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np

from springtide.sdk import Refusal
from springtide.trainers.answers import measure, read_answer
from springtide.trainers.formats import FORMATS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from springtide.sdk import Deadline
    from springtide.trainers.formats import Format
    from springtide.trainers.frameworks.seam import Brief
    from springtide.trainers.validation import Rows

__all__ = ["PARAMS", "LightgbmTrees", "build", "load"]

PARAMS = ("epochs", "leaves", "learning_rate", "least_rows", "patience")
_METRICS = {"regression": "l2", "binary": "binary_logloss", "multiclass": "multi_logloss"}


class LightgbmTrees:
    """A booster; None where it has no tree yet."""

    form = FORMATS["lightgbm"]
    classes = None

    def __init__(self, booster: lightgbm.Booster | None) -> None:
        self.booster = booster

    @property
    def width(self) -> int | None:
        """The numbers a row that it reads."""
        return self.booster.num_feature() if self.booster else None

    @property
    def names(self) -> tuple[str, ...] | None:
        """The columns that it was trained on."""
        return tuple(self.booster.feature_name()) if self.booster else None

    def answer(self, inputs: NDArray[np.float32]) -> NDArray[Any]:
        """Its numbers for (n, width) inputs."""
        assert self.booster is not None, "a booster without trees cannot answer"
        return np.asarray(self.booster.predict(inputs))

    def learner(self, training: Rows, validation: Rows, brief: Brief) -> LightgbmLearner:
        """Add trees."""
        return LightgbmLearner(self, training, validation, brief)

    def save(self, path: Path) -> None:
        """Write it as LightGBM's text."""
        assert self.booster is not None, "it was trained or loaded"
        self.booster.save_model(path)

    def export(self, path: Path, width: int) -> None:
        """Write it as an ONNX graph."""
        from onnxmltools import convert_lightgbm
        from onnxmltools.convert.common.data_types import FloatTensorType

        assert self.booster is not None, "it was trained or loaded"
        graph = convert_lightgbm(
            _with_single_thresholds(self.booster),
            initial_types=[("features", FloatTensorType([None, width]))],
            zipmap=False,
        )
        path.write_bytes(graph.SerializeToString())


class LightgbmLearner:
    """One epoch is one round of boosting. Source: Ke et al. 2017, NeurIPS 30, LightGBM."""

    epochs, patience = 2000, 50

    def __init__(self, trees: LightgbmTrees, training: Rows, validation: Rows, brief: Brief) -> None:
        self.trees, self.validation, self.brief = trees, validation, brief
        self.params = {**_objective(trees.booster, brief), **_settings(brief)}
        self.training_set = lightgbm.Dataset(training.inputs, training.target, free_raw_data=False)
        self.validation_set = self.training_set.create_valid(validation.inputs, validation.target)
        self.growing: lightgbm.Booster | None = None
        self.best_rounds = trees.booster.current_iteration() if trees.booster else 0

    def epoch(self, deadline: Deadline) -> None:  # a round is short
        """Grow one round of trees."""
        if self.growing is not None:
            self.growing.update()
            return
        self.growing = lightgbm.train(
            self.params,
            self.training_set,
            num_boost_round=1,
            valid_sets=[self.validation_set],
            init_model=self.trees.booster,
            keep_training_booster=True,
        )

    def loss(self) -> float:
        """Return the validation loss."""
        if self.growing is not None:
            ((_, _, loss, _),) = self.growing.eval_valid()
            return math.sqrt(loss) if self.brief.classes == 0 else loss
        if self.trees.booster is None:
            return math.inf
        raw = self.trees.answer(self.validation.inputs)
        return measure(read_answer(raw, self.brief.classes, self.brief.output), self.validation.target)

    def keep(self) -> None:
        """Take the trees so far as the best."""
        if self.growing is not None:
            self.best_rounds = self.growing.current_iteration()

    def restore(self) -> None:
        """Cut the trees that came after the best."""
        start = self.trees.booster.current_iteration() if self.trees.booster else 0
        if self.growing is not None and self.best_rounds > start:
            text = self.growing.model_to_string(num_iteration=self.best_rounds)
            self.trees.booster = lightgbm.Booster(model_str=text)


def _with_single_thresholds(booster: lightgbm.Booster) -> lightgbm.Booster:
    """The same trees with thresholds in float32, rounded down.

    For x in float32, ``x <= threshold`` is the same as ``x <=`` the largest float32 that is not above the threshold. An
    ONNX graph has thresholds in float32, and rounding them to the nearest sends some rows the other way.
    """
    lines = booster.model_to_string().split("\n")
    changed = [
        f"threshold={' '.join(map(_rounded_down, line[10:].split()))}" if line.startswith("threshold=") else line
        for line in lines
        if not line.startswith("tree_sizes=")  # in characters; the text is read without it as well
    ]
    return lightgbm.Booster(model_str="\n".join(changed))


def _rounded_down(number: str) -> str:
    """The largest float32 that is not above a number.

    >>> _rounded_down("0.22661647945642474"), _rounded_down("1")
    ('0.22661647200584412', '1.0')
    """
    threshold = float(number)
    single = np.float32(threshold)
    return repr(float(single if float(single) <= threshold else np.nextafter(single, np.float32(-np.inf))))


def _objective(booster: lightgbm.Booster | None, brief: Brief) -> dict[str, Any]:
    """The objective of the task; a given booster keeps its own."""
    usual = {0: "regression", 2: "binary"}.get(brief.classes, "multiclass")
    objective = usual
    if booster is not None:
        objective = str(booster.dump_model(num_iteration=1).get("objective", "custom")).split()[0]
        fitting = {
            "regression": ("regression", "regression_l1", "huber", "poisson", "fair", "mape", "tweedie", "gamma")
        }
        if objective not in fitting.get(usual, (usual,)):
            raise Refusal(
                f"the booster's objective is {objective!r}, which does not learn a {usual}",
                where="the model",
                do=f"send a booster with the objective {usual}, or train from scratch",
            )
    classes = {"num_class": brief.classes} if usual == "multiclass" else {}
    return {"objective": objective, "metric": _METRICS[usual], **classes}


def _settings(brief: Brief) -> dict[str, Any]:
    return {
        "learning_rate": brief.learning_rate(0.05),
        "num_leaves": brief.params.whole("leaves", 31, low=2, high=4096),
        "min_data_in_leaf": brief.params.whole("least_rows", 20, low=1, high=1_000_000),
        "seed": brief.seed,
        "deterministic": True,
        "force_col_wise": True,  # choosing between the two by a race would not be repeatable
        "verbosity": -1,
    }


def build(training: Rows, brief: Brief) -> LightgbmTrees:  # the first round shapes it
    """A booster without trees."""
    return LightgbmTrees(None)


def load(path: Path, form: Format) -> LightgbmTrees:  # there is one
    """Load LightGBM's text.

    Raises
    ------
    Refusal
        It cannot be loaded.
    """
    try:
        return LightgbmTrees(lightgbm.Booster(model_file=path))
    except lightgbm.basic.LightGBMError as error:
        raise Refusal(
            f"LightGBM cannot load it: {error!s:.300}", where=path.name, do="save it again with save_model"
        ) from error
