"""The mode `predict`: a model and rows without their target in; numbers out, never a pickle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from springtide.sdk import Refusal
from springtide.trainers.answers import infer_output, read_answer
from springtide.trainers.frameworks import framework_module
from springtide.trainers.frameworks.seam import check_width
from springtide.trainers.given import Given, choose_preprocessing, open_given
from springtide.trainers.scripts import load_script
from springtide.trainers.table import arrays_of, read_rows

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from springtide.trainers.frameworks import Model
    from springtide.trainers.preprocessing import Preprocessing
    from springtide.trainers.task import Task

__all__ = ["load_given", "predict"]

PREDICTIONS = "predictions.npz"


def predict(task: Task) -> dict[str, Any]:
    """Answer every row, in their order: ``mean`` (n,), or ``probabilities`` (n, k) and ``classes`` (k,), in predictions.npz.

    Raises
    ------
    Refusal
        What is wrong with rows or model; an answer is no finite number.
    """
    given = open_given(task)
    if given is None:
        raise Refusal("no model", where="task.json", do="name the model that is to predict")
    rows = read_rows(task.data, task.features)
    script = load_script(task.script) if task.script else None
    if script is not None and script.predict is not None:
        classes = task.classes or ()
        answer = script.answer(rows[list(task.features)], given.path, len(classes))
    else:
        answer, classes = _answer(rows, given, task)
    if not np.isfinite(answer).all():
        bad = int((~np.isfinite(answer)).reshape(len(answer), -1).any(axis=1).sum())
        do = "look for gaps in these rows"
        if bad == len(answer):
            do = "look for gaps in the rows that it was trained on: a network that has learned from one knows nothing"
        raise Refusal(f"the model gives no finite numbers for {bad} of {len(answer)} rows", where="its answers", do=do)
    if classes:
        np.savez(task.out / PREDICTIONS, allow_pickle=False, probabilities=answer, classes=np.array(classes))
    else:
        np.savez(task.out / PREDICTIONS, allow_pickle=False, mean=answer)
    return {"predictions": PREDICTIONS, "rows": len(answer), "classes": list(classes), "format": given.form.name}


def load_given(given: Given, task: Task) -> tuple[Model, Preprocessing]:
    """Load a model, and what makes rows its input.

    Raises
    ------
    Refusal
        It cannot be loaded, or does not fit the rows.
    """
    model = framework_module(given.form.framework).load(given.path, given.form)
    preprocessing = choose_preprocessing(task, given, model, model.classes or task.classes or ())
    if task.question != "regression" and not preprocessing.classes:
        raise Refusal("the model does not tell its classes", where="task.json", do="name them in classes")
    return model, preprocessing


def _answer(rows: pd.DataFrame, given: Given, task: Task) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    model, preprocessing = load_given(given, task)
    inputs = preprocessing.matrix(arrays_of(rows, task.columns))
    check_width(model, inputs.shape[1])
    raw = model.answer(inputs)
    output = preprocessing.output or infer_output(raw, len(preprocessing.classes))
    return read_answer(raw, len(preprocessing.classes), output), preprocessing.classes
