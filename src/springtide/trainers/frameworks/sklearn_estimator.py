"""scikit-learn: a linear model, and estimators saved with skops or joblib."""

from __future__ import annotations

import copy
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import joblib
import numpy as np
import pandas as pd
import skops.io
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.linear_model import LogisticRegression, Ridge

from springtide.sdk import Refusal
from springtide.trainers.answers import measure, read_answer
from springtide.trainers.formats import FORMATS
from springtide.trainers.frameworks.batches import shuffled
from springtide.trainers.labels import label

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from springtide.sdk import Deadline
    from springtide.trainers.fitting import Learner
    from springtide.trainers.formats import Format
    from springtide.trainers.frameworks.seam import Brief
    from springtide.trainers.validation import Rows

__all__ = ["PARAMS", "SklearnEstimator", "build", "load"]

PARAMS = ("epochs", "patience")
_STRENGTHS = tuple(10.0**power for power in np.arange(4, -4.5, -0.5))  # of shrinkage, from strong to weak
_BATCH = 1024  # rows of one partial fit
_TRUSTED = ("sklearn.", "numpy.", "scipy.")  # packages whose types a skops file may name


class SklearnEstimator:
    """An estimator; a classifier must tell probabilities."""

    def __init__(self, estimator: Any, form: Format, *, fitted: bool) -> None:  # scikit-learn has no type for it
        self.estimator, self.form, self.fitted = estimator, form, fitted

    @property
    def width(self) -> int | None:
        """The numbers a row that it reads."""
        return getattr(self.estimator, "n_features_in_", None)

    @property
    def names(self) -> tuple[str, ...] | None:
        """The columns that it was trained on, if it knows them."""
        names = getattr(self.estimator, "feature_names_in_", None)
        return tuple(map(str, names)) if names is not None else None

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The labels of its classes, in the order of its probabilities."""
        classes = getattr(self.estimator, "classes_", None)
        return tuple(map(label, classes)) if self.fitted and classes is not None else None

    def answer(self, inputs: NDArray[np.float32]) -> NDArray[Any]:
        """Its numbers for (n, width) inputs."""
        rows = self.rows(inputs)
        with _its_failures():
            return np.asarray(
                self.estimator.predict_proba(rows) if is_classifier(self.estimator) else self.estimator.predict(rows)
            )

    def rows(self, inputs: NDArray[np.float32]) -> NDArray[Any] | pd.DataFrame:
        """Give the inputs the names and the precision that the estimator knows."""
        weights = getattr(self.estimator, "coef_", None)  # a linear model goes on only in the precision it began with
        table = inputs.astype(np.float64 if weights is None else weights.dtype)
        return table if self.names is None else pd.DataFrame(table, columns=list(self.names), copy=False)

    def learner(self, training: Rows, validation: Rows, brief: Brief) -> Learner:
        """Fit a new one; go on with a given one by partial fits where it has them, else refit it."""
        if not self.fitted:
            return ShrinkageLearner(self, training, validation, brief)
        if hasattr(self.estimator, "partial_fit"):
            return PartialLearner(self, training, validation, brief)
        return RefitLearner(self, training, validation, brief)

    def save(self, path: Path) -> None:
        """Write it in the format it came in."""
        if self.form.name == "joblib":
            joblib.dump(self.estimator, path)
        else:
            skops.io.dump(self.estimator, path)

    def export(self, path: Path, width: int) -> None:
        """Write it as an ONNX graph."""
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import FloatTensorType

        options = {id(self.estimator): {"zipmap": False}} if is_classifier(self.estimator) else None
        types = [("features", FloatTensorType([None, width]))]
        path.write_bytes(to_onnx(self.estimator, initial_types=types, options=options).SerializeToString())


class _Learner:
    """What the three ways of learning share."""

    def __init__(self, model: SklearnEstimator, training: Rows, validation: Rows, brief: Brief) -> None:
        self.model, self.training, self.validation, self.brief = model, training, validation, brief
        labels = getattr(model.estimator, "classes_", None)
        self.target = labels[training.target] if model.fitted and labels is not None else training.target
        self.best = model.estimator

    def loss(self) -> float:
        """Return the validation loss."""
        if not self.model.fitted:
            return math.inf
        raw = self.model.answer(self.validation.inputs)
        return measure(read_answer(raw, self.brief.classes, self.brief.output), self.validation.target)

    def keep(self) -> None:
        """Take the present state as the best."""
        self.best = copy.deepcopy(self.model.estimator)

    def restore(self) -> None:
        """Go back to the best state."""
        self.model.estimator = self.best


class ShrinkageLearner(_Learner):
    """One epoch is one strength of shrinkage, from strong to weak; validation chooses."""

    epochs = patience = len(_STRENGTHS)

    def __init__(self, model: SklearnEstimator, training: Rows, validation: Rows, brief: Brief) -> None:
        super().__init__(model, training, validation, brief)
        self.strengths = iter(_STRENGTHS)

    def epoch(self, deadline: Deadline) -> None:  # a fit cannot be stopped
        """Fit with the next strength."""
        strength = next(self.strengths, _STRENGTHS[-1])
        setting = {"C": 1 / strength} if self.brief.classes else {"alpha": strength}
        if self.brief.classes > len(np.unique(self.target)):
            raise Refusal(
                "a class is only in the latest rows", where="the training rows", do="send older rows of each class"
            )
        self.model.estimator.set_params(**setting).fit(self.training.inputs.astype(np.float64), self.target)
        self.model.fitted = True


class PartialLearner(_Learner):
    """One epoch is one pass of partial fits over shuffled batches."""

    epochs, patience = 200, 20

    def __init__(self, model: SklearnEstimator, training: Rows, validation: Rows, brief: Brief) -> None:
        super().__init__(model, training, validation, brief)
        self.random = np.random.default_rng(brief.seed)

    def epoch(self, deadline: Deadline) -> None:
        """One pass over the training part."""
        for places in shuffled(len(self.training), _BATCH, self.random):
            rows = self.model.rows(self.training.inputs[places])
            with _its_failures():
                self.model.estimator.partial_fit(rows, self.target[places])
            if deadline.passed:
                break


class RefitLearner(_Learner):
    """One epoch: the same estimator, fitted anew on these rows; what it knew of older ones is lost."""

    epochs = patience = 1

    def epoch(self, deadline: Deadline) -> None:  # a fit cannot be stopped
        """Fit a fresh copy."""
        rows = self.model.rows(self.training.inputs)
        with _its_failures():
            self.model.estimator = clone(self.model.estimator).fit(rows, self.target)


@contextmanager
def _its_failures() -> Iterator[None]:
    """What an estimator says against the rows is for whoever sent both."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise Refusal(
            f"the estimator cannot take the rows: {error!s:.300}",
            where="the model",
            do="send rows as it was trained on, without gaps if it knows none, or train from scratch",
        ) from error


def build(training: Rows, brief: Brief) -> SklearnEstimator:  # it is shaped by its first fit
    """Ridge regression, or logistic regression."""
    estimator = LogisticRegression(max_iter=1000, random_state=brief.seed) if brief.classes else Ridge()
    return SklearnEstimator(estimator, FORMATS["skops"], fitted=False)


def load(path: Path, form: Format) -> SklearnEstimator:
    """Load an estimator. A joblib file is a pickle: it runs code of whoever wrote it, so only ever here, in the sandbox.

    Raises
    ------
    Refusal
        It cannot be loaded, names types that are not trusted, or is no classifier with probabilities and no regressor.
    """
    try:
        estimator = joblib.load(path) if form.name == "joblib" else _load_skops(path)
    except Refusal:
        raise
    except Exception as error:  # a pickle may raise anything
        raise Refusal(
            f"it cannot be loaded: {type(error).__name__}: {error!s:.300}",
            where=path.name,
            do="save it with the scikit-learn of this environment, as skops or joblib",
        ) from error
    if not isinstance(estimator, BaseEstimator) or not (
        is_regressor(estimator) or (is_classifier(estimator) and hasattr(estimator, "predict_proba"))
    ):
        raise Refusal(
            f"{type(estimator).__name__} is no regressor, and no classifier with predict_proba",
            where=path.name,
            do="send an estimator that is one of them",
        )
    return SklearnEstimator(estimator, form, fitted=True)


def _load_skops(path: Path) -> object:
    named = skops.io.get_untrusted_types(file=path)
    foreign = [name for name in named if not name.startswith(_TRUSTED)]
    if foreign:
        raise Refusal(
            f"the file names foreign types: {', '.join(foreign[:5])}", where=path.name, do="use scikit-learn's own"
        )
    return cast(object, skops.io.load(path, trusted=named))
