"""train.py for scikit-learn: a pipeline that reads the table as it is, texts and gaps included.

Called once, in an environment with scikit-learn, skops, LightGBM, XGBoost, NumPy, pandas and springtide.sdk; without a
network. What it prints is the job's log. The pipeline reads more than columns of numbers; so there is a second function,
`predict`, which gives it the columns by their names.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import skops.io
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from springtide.sdk import Params


def train(
    data: pd.DataFrame, model_path: Path | None, out_path: Path, params: Params, report: Callable[..., None]
) -> None:
    """Fit on `data`, and write one model into `out_path`; forests of this kind cannot go on from `model_path`."""
    report(phase="fit", rows=len(data), given=model_path is not None)
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1)
    columns = make_column_transformer(
        (codes, make_column_selector(dtype_include=["object", "str"])),
        ("passthrough", make_column_selector(dtype_include=["number", "bool"])),
    )
    learner = HistGradientBoostingClassifier if params["classes"] else HistGradientBoostingRegressor
    pipeline = make_pipeline(
        columns, learner(max_iter=params.whole("rounds", 200, low=1), early_stopping=True, random_state=params["seed"])
    )
    pipeline.fit(data[params["features"]], data[params["target"]])
    report(phase="fitted", rounds=int(pipeline[-1].n_iter_))
    skops.io.dump(pipeline, out_path / "model.skops")


def predict(data: pd.DataFrame, model_path: Path) -> np.ndarray:
    """Answer rows that have the feature columns and no target: numbers, or probabilities in the order of the classes."""
    named = skops.io.get_untrusted_types(file=model_path)
    pipeline = skops.io.load(model_path, trusted=named)  # it is the file that was written above
    answer = pipeline.predict_proba if hasattr(pipeline, "predict_proba") else pipeline.predict
    return np.asarray(answer(data))
