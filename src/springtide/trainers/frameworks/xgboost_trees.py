"""XGBoost: boosted trees, new or continued."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import xgboost

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

__all__ = ["PARAMS", "XgboostTrees", "build", "load"]

PARAMS = ("depth", "epochs", "learning_rate", "patience")
# The first is for a new model; a given one keeps its own, if it is one of these.
_OBJECTIVES = {
    "regression": ("reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror", "reg:squaredlogerror", "reg:gamma",
                   "reg:tweedie", "count:poisson", "reg:linear"),
    "binary": ("binary:logistic", "binary:logitraw"),
    "multiclass": ("multi:softprob",),
}  # fmt: skip
_METRICS = {"regression": "rmse", "binary": "logloss", "multiclass": "mlogloss"}


class XgboostTrees:
    """A booster; `rounds` is 0 where it has no tree yet."""

    classes = None

    def __init__(self, booster: xgboost.Booster | None, form: Format) -> None:
        self.booster, self.form = booster, form

    @property
    def width(self) -> int | None:
        """The numbers a row that it reads."""
        return self.booster.num_features() if self.booster else None

    @property
    def names(self) -> tuple[str, ...] | None:
        """The columns that it was trained on, if it knows them."""
        return tuple(self.booster.feature_names) if self.booster and self.booster.feature_names else None

    def answer(self, inputs: NDArray[np.float32]) -> NDArray[Any]:
        """Its numbers for (n, width) inputs."""
        assert self.booster is not None, "a booster without trees cannot answer"
        return np.asarray(self.booster.predict(xgboost.DMatrix(inputs, feature_names=_listed(self.names))))

    def learner(self, training: Rows, validation: Rows, brief: Brief) -> XgboostLearner:
        """Add trees."""
        return XgboostLearner(self, training, validation, brief)

    def save(self, path: Path) -> None:
        """Write it as XGBoost's JSON, or its binary form."""
        assert self.booster is not None, "it was trained or loaded"
        self.booster.save_model(path)

    def export(self, path: Path, width: int) -> None:
        """Write it as an ONNX graph."""
        from onnxmltools import convert_xgboost
        from onnxmltools.convert.common.data_types import FloatTensorType

        assert self.booster is not None, "it was trained or loaded"
        booster = self.booster.copy()
        booster.feature_names = None  # the converter knows columns by their places alone
        graph = convert_xgboost(booster, initial_types=[("features", FloatTensorType([None, width]))])
        path.write_bytes(graph.SerializeToString())


class XgboostLearner:
    """One epoch is one round of boosting. Source: Chen & Guestrin 2016, doi:10.1145/2939672.2939785."""

    epochs, patience = 2000, 50

    def __init__(self, trees: XgboostTrees, training: Rows, validation: Rows, brief: Brief) -> None:
        self.trees, self.brief, self.target = trees, brief, validation.target
        names = _listed(trees.names)
        self.training = xgboost.DMatrix(training.inputs, training.target, feature_names=names)
        self.validation = xgboost.DMatrix(validation.inputs, validation.target, feature_names=names)
        usual = {0: "regression", 2: "binary"}.get(brief.classes, "multiclass")
        self.objective = _objective(trees.booster, usual)
        settings = {**_settings(brief), "objective": self.objective, "eval_metric": _METRICS[usual]}
        if usual == "multiclass":
            settings["num_class"] = brief.classes
        self.booster = trees.booster or xgboost.Booster(settings, [self.training, self.validation])
        self.booster.set_param(settings)
        self.rounds = self.best_rounds = self.booster.num_boosted_rounds() if trees.booster else 0

    def epoch(self, deadline: Deadline) -> None:  # a round is short
        """Grow one round of trees."""
        self.booster.update(self.training, self.rounds)
        self.rounds += 1

    def loss(self) -> float:
        """Return the validation loss."""
        if self.rounds == 0:
            return math.inf
        if self.objective == "binary:logitraw":
            raw = self.booster.predict(self.validation)
            return measure(read_answer(raw, self.brief.classes, "logits"), self.target)
        return float(self.booster.eval(self.validation).rsplit(":", 1)[1])

    def keep(self) -> None:
        """Take the trees so far as the best."""
        self.best_rounds = self.rounds

    def restore(self) -> None:
        """Cut the trees that came after the best."""
        if self.best_rounds < self.rounds and self.best_rounds > 0:
            self.booster = self.booster[: self.best_rounds]
        self.trees.booster = self.booster


def _objective(booster: xgboost.Booster | None, usual: str) -> str:
    known = _OBJECTIVES[usual]
    if booster is None:
        return known[0]
    learner = json.loads(booster.save_config())["learner"]
    objective = str(learner["objective"]["name"])
    if objective not in known:
        raise Refusal(
            f"the booster's objective is {objective!r}, which does not learn a {usual}",
            where="the model",
            do=f"send a booster with the objective {known[0]}, or train from scratch",
        )
    if learner["gradient_booster"]["name"] != "gbtree":
        raise Refusal("only boosted trees can be continued", where="the model", do="train it with booster=gbtree")
    return objective


def _settings(brief: Brief) -> dict[str, Any]:
    return {
        "learning_rate": brief.learning_rate(0.05),
        "max_depth": brief.params.whole("depth", 6, low=1, high=32),
        "seed": brief.seed,
        "tree_method": "hist",
        "verbosity": 0,
    }


def _listed(names: tuple[str, ...] | None) -> list[str] | None:
    return list(names) if names is not None else None


def build(training: Rows, brief: Brief) -> XgboostTrees:  # the first round shapes it
    """A booster without trees."""
    return XgboostTrees(None, FORMATS["xgboost"])


def load(path: Path, form: Format) -> XgboostTrees:
    """Load XGBoost's JSON or its binary form.

    Raises
    ------
    Refusal
        It cannot be loaded.
    """
    try:
        return XgboostTrees(xgboost.Booster(model_file=path), form)
    except xgboost.core.XGBoostError as error:
        said = str(error).strip().splitlines()[-1]
        raise Refusal(
            f"XGBoost cannot load it: {said:.300}", where=path.name, do="save it again with save_model"
        ) from error
