"""What a model of any framework is to the trainers."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from springtide.sdk import Refusal

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from springtide.sdk import Params
    from springtide.trainers.fitting import Learner
    from springtide.trainers.formats import Format
    from springtide.trainers.preprocessing import Output
    from springtide.trainers.validation import Rows

__all__ = ["Brief", "Framework", "Model", "check_width", "framework_module"]

_MODULES = {
    "tensorflow": "keras_network",
    "pytorch": "torch_network",
    "lightgbm": "lightgbm_trees",
    "xgboost": "xgboost_trees",
    "scikit-learn": "sklearn_estimator",
    "onnx": "onnx_graph",
}


@dataclass(frozen=True, slots=True)
class Brief:
    """What a model is to learn, and how."""

    classes: int  # 0 for a regression
    width: int  # numbers a row
    seed: int
    params: Params
    fine_tune: bool = False
    output: Output = "mean"  # what the model's numbers are

    def learning_rate(self, usual: float) -> float:
        """Return the step size."""
        return self.params.number("learning_rate", usual, low=1e-8, high=10)


class Model(Protocol):
    """A model of some framework."""

    form: Format
    names: tuple[str, ...] | None  # the columns that it says it reads
    width: int | None  # the numbers a row that it says it reads
    classes: tuple[str, ...] | None  # the classes that it says it knows

    def answer(self, inputs: NDArray[np.float32]) -> NDArray[Any]:
        """Its numbers for (n, width) inputs: (n,), (n, 1) or (n, classes)."""

    def learner(self, training: Rows, validation: Rows, brief: Brief) -> Learner:
        """Something that trains this model in place."""

    def save(self, path: Path) -> None:
        """Write it in its format."""

    def export(self, path: Path, width: int) -> None:
        """Write it as an ONNX graph with one input of (n, width) float32."""


class Framework(Protocol):
    """A module of this folder."""

    PARAMS: tuple[str, ...]

    def build(self, training: Rows, brief: Brief) -> Model:
        """A new model; only the rows before validation may shape it."""

    def load(self, path: Path, form: Format) -> Model:
        """A model from a file."""


def framework_module(name: str) -> Framework:
    """Import the module of a framework; each environment holds one, so the others are never imported.

    Raises
    ------
    Refusal
        If this environment has another one.
    """
    try:
        return cast(Framework, importlib.import_module(f"springtide.trainers.frameworks.{_MODULES[name]}"))
    except ModuleNotFoundError as error:
        raise Refusal(
            f"{name} is not in this environment: no module {error.name!r}",
            where="the environment of the training",
            do=f"run it in the environment of {name}",
        ) from error


def check_width(model: Model, width: int) -> None:
    """Refuse a model that reads another number of columns than there are.

    Raises
    ------
    Refusal
        With both numbers.
    """
    if model.width is not None and model.width != width:
        raise Refusal(
            f"the model reads {model.width} numbers a row, and the rows have {width}",
            where="the model's input",
            do="name its columns, in its order, in params.features; or send the preprocessing.json it came with; or train from scratch",
        )
