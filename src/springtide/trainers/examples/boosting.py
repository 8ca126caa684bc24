"""train.py for LightGBM: boosted trees on the feature columns.

Called once, in an environment with LightGBM, XGBoost, scikit-learn, NumPy, pandas and springtide.sdk; without a network.
What it prints is the job's log. It learns from the columns of numbers and leaves texts and dates out; to learn from
these too, add a `predict` that reads them (see the example for scikit-learn).
"""

import re
from collections.abc import Callable
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd

from springtide.sdk import Deadline, Params

OBJECTIVES = {"regression": "regression", "binary": "binary", "multiclass": "multiclass"}


def train(
    data: pd.DataFrame, model_path: Path | None, out_path: Path, params: Params, report: Callable[..., None]
) -> None:
    """Train on `data`, from `model_path` if it is there, and write one model into `out_path`."""
    deadline = Deadline(0.9 * params["budget_s"])  # leaves time to save
    numbers = data[params["features"]].select_dtypes("number")  # no texts, no dates
    features = numbers.to_numpy(np.float32)  # (rows, features), in the order of time
    # Where a column is left out, the model keeps the names of the others: by these it is given its columns later.
    # LightGBM takes no brackets, colons or spaces in names.
    left_out = len(numbers.columns) < len(params["features"])
    names = [re.sub(r"\W", "_", name) for name in numbers] if left_out else "auto"
    target = data[params["target"]]
    if params["classes"]:  # their places, as the probabilities have them
        target = target.map({name: place for place, name in enumerate(params["classes"])})
    first = int(0.85 * len(data))  # the rows after it choose the number of rounds
    training = lightgbm.Dataset(features[:first], target[:first], feature_name=names)
    validation = training.create_valid(features[first:], target[first:])

    def live(state: lightgbm.callback.CallbackEnv) -> None:
        """Tell of some rounds, and stop when the time is over."""
        if state.iteration % 20 == 0:
            report(round=state.iteration, loss=state.evaluation_result_list[0][2])
        if deadline.passed:
            raise lightgbm.callback.EarlyStopException(state.iteration, state.evaluation_result_list)

    settings = {
        "objective": OBJECTIVES[params["task"]],
        "learning_rate": params.number("learning_rate", 0.05, low=0, high=1),
        "num_leaves": params.whole("leaves", 31, low=2, high=4096),
        "seed": params["seed"],
        "verbosity": -1,
        **({"num_class": len(params["classes"])} if params["task"] == "multiclass" else {}),
    }
    booster = lightgbm.train(
        settings,
        training,
        num_boost_round=params.whole("rounds", 500, low=1),
        valid_sets=[validation],
        init_model=model_path,  # None, or the trees to go on from
        callbacks=[lightgbm.early_stopping(30, verbose=False), live],
    )
    booster.save_model(out_path / "model.txt", num_iteration=booster.best_iteration)
