"""train.py for TensorFlow: a Keras model of the feature columns.

Called once, in an environment with TensorFlow, NumPy, pandas and springtide.sdk; without a network. What it prints is
the job's log. It may read /in and write /work; nothing else is there. It learns from the columns of numbers
and leaves texts and dates out.
"""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from springtide.sdk import Deadline, Params, Refusal


class Live(keras.callbacks.Callback):
    """Tells of every epoch, and stops when the time is over."""

    def __init__(self, report: Callable[..., None], deadline: Deadline) -> None:
        super().__init__()
        self.report, self.deadline = report, deadline

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras calls it with the losses."""
        self.report(epoch=epoch + 1, **(logs or {}), seconds_left=round(self.deadline.seconds_left))
        if self.deadline.passed:
            self.model.stop_training = True


def train(
    data: pd.DataFrame, model_path: Path | None, out_path: Path, params: Params, report: Callable[..., None]
) -> None:
    """Train on `data`, from `model_path` if it is there, and write one model into `out_path`."""
    if params["task"] != "regression":
        raise Refusal("this script learns numbers", where="train.py", do="change its last layer and its loss")
    deadline = Deadline(0.9 * params["budget_s"])  # leaves time to save
    keras.utils.set_random_seed(params["seed"])
    features = as_array(data[params["features"]])  # (rows, features), in the order of time
    target = data[params["target"]].to_numpy(np.float32)

    if model_path is not None:
        network = keras.models.load_model(model_path)
    else:
        network = new_network(features, target, hidden=params.whole("hidden", 32, low=1, high=4096))
    network.compile(optimizer=keras.optimizers.Adam(params.number("learning_rate", 1e-3, low=0, high=1)), loss="mse")
    network.fit(
        features,
        target,
        validation_split=0.15,  # the last rows: Keras takes them before it shuffles
        epochs=params.whole("epochs", 100, low=1),
        verbose=0,
        callbacks=[
            keras.callbacks.EarlyStopping(patience=10, restore_best_weights=True),
            Live(report, deadline),
        ],
    )
    network.save(out_path / "model.keras")


def new_network(features: np.ndarray, target: np.ndarray, *, hidden: int) -> keras.Model:
    """One hidden layer; what training rows were like is inside the model, so that nothing has to be kept beside it."""
    means = np.ma.masked_invalid(features).mean(axis=0).filled(0.0)
    scaling = keras.layers.Normalization()
    scaling.adapt(np.where(np.isfinite(features), features, means))
    rows = keras.Input((features.shape[1],))
    known = keras.ops.nan_to_num(scaling(rows))  # a gap counts as the mean of its column
    answer = keras.layers.Dense(1)(keras.layers.Dense(hidden, activation="relu")(known))
    return keras.Model(rows, keras.layers.Rescaling(max(target.std(), 1e-6), offset=target.mean())(answer))


def predict(data: pd.DataFrame, model_path: Path) -> np.ndarray:
    """Answer rows that have the feature columns and no target.

    It is there for what `as_array` leaves out. Where all columns are numbers, delete it: the model then leaves as an
    ONNX graph too.
    """
    return np.asarray(keras.models.load_model(model_path).predict(as_array(data), verbose=0))[:, 0]


def as_array(columns: pd.DataFrame) -> np.ndarray:
    """Columns of numbers as one table; texts and dates are left out."""
    return columns.select_dtypes("number").to_numpy(np.float32)
