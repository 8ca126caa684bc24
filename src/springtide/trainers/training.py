"""The mode `train`: rows in; a model, its preprocessing and how it went out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from springtide.sdk import Deadline, Refusal
from springtide.sdk.reporting import tell
from springtide.trainers.answers import infer_output
from springtide.trainers.fitting import fit
from springtide.trainers.formats import PREPROCESSING
from springtide.trainers.frameworks import Brief, framework_module
from springtide.trainers.frameworks.seam import check_width
from springtide.trainers.given import choose_preprocessing, open_given
from springtide.trainers.preprocessing import Plain
from springtide.trainers.preprocessing import fit as fit_preprocessing
from springtide.trainers.table import Arrays, arrays_of, in_order, read_rows, read_target
from springtide.trainers.validation import Rows, first_of_validation

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from numpy.typing import NDArray

    from springtide.trainers.given import Given
    from springtide.trainers.preprocessing import Output, Preprocessing
    from springtide.trainers.task import Task

__all__ = ["COMMON_PARAMS", "train"]

COMMON_PARAMS = ("classes", "features", "output", "start")  # beside those of the framework


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """The rows of a task, in the order of time; those from `first` on are for validation."""

    arrays: Arrays
    target: NDArray[Any]  # (n,)
    classes: tuple[str, ...]
    first: int


def train(task: Task) -> dict[str, Any]:
    """Train a new model, or go on with the one that was given.

    Returns
    -------
    dict
        What result.json says.

    Raises
    ------
    Refusal
        What is wrong with rows, model or parameters.
    """
    deadline = Deadline(task.budget_s)
    given = open_given(task)
    framework = given.form.framework if given else task.framework
    if framework is None:
        raise Refusal("neither a model nor a framework", where="task.json", do="name the framework of the new model")
    module = framework_module(framework)
    task.params.refuse_others((*COMMON_PARAMS, *module.PARAMS))
    tell("phase", name="prepare", framework=framework, start="given" if given else "scratch")
    rows = in_order(read_rows(task.data, (*task.features, task.target)), task)
    if given:
        model = module.load(given.path, given.form)
        prepared = _prepare(rows, task, given.preprocessing.classes if given.preprocessing else model.classes)
        preprocessing = choose_preprocessing(task, given, model, prepared.classes)
    else:
        prepared = _prepare(rows, task, None)
        preprocessing = _learn_preprocessing(prepared, task)
    inputs = preprocessing.matrix(prepared.arrays)
    training, validation = Rows(inputs, prepared.target).split(prepared.first)
    brief = Brief(len(prepared.classes), inputs.shape[1], task.seed, task.params, fine_tune=given is not None)
    if given:
        check_width(model, brief.width)
        _check_gaps(preprocessing, inputs, framework)
    else:
        model = module.build(training, brief)
    output = _output(task, preprocessing, given, brief.classes, lambda: model.answer(validation.inputs))
    learner = model.learner(training, validation, replace(brief, output=output))
    tell("phase", name="fit", rows=len(training), validation_rows=len(validation), width=brief.width)
    fitting = fit(
        learner,
        epochs=task.params.whole("epochs", learner.epochs, low=1, high=100_000),
        patience=task.params.whole("patience", learner.patience, low=1, high=100_000),
        deadline=deadline,
        tell=tell,
    )
    file = task.out / f"model{model.form.suffix}"
    model.save(file)
    replace(preprocessing, output=output).write(task.out / PREPROCESSING)
    return {
        "model": file.name,
        "format": model.form.name,
        "framework": framework,
        "start": "given" if given else "scratch",
        "predicted_by": "springtide",
        "classes": list(prepared.classes),
        "rows": len(training),
        "validation_rows": len(validation),
        **asdict(fitting),
    }


def _prepare(rows: pd.DataFrame, task: Task, known: tuple[str, ...] | None) -> Prepared:
    """Arrays, target and the place of validation; `known` are the classes of the model, in its order."""
    wanted = tuple(map(str, task.params.get("classes", ()))) or task.classes
    target, classes = read_target(rows, task, known or wanted)
    times = rows[task.time].to_numpy() if task.time else None
    return Prepared(arrays_of(rows, task.columns), target, classes, first_of_validation(len(rows), times))


def _learn_preprocessing(prepared: Prepared, task: Task) -> Preprocessing:
    """From the rows before validation alone."""
    seen = {name: values[: prepared.first] for name, values in prepared.arrays.items()}
    names = set(map(str, task.params.get("features", task.features)))
    if unknown := names - set(task.features):
        raise Refusal(
            f"no columns {sorted(unknown)}", where="params.features", do=f"name some of {', '.join(task.features)}"
        )
    columns = [column for column in task.columns if column.name in names]
    return fit_preprocessing(seen, columns, question=task.question, target=task.target, classes=prepared.classes)


def _output(
    task: Task, preprocessing: Preprocessing, given: Given | None, classes: int, answer: Callable[[], NDArray[Any]]
) -> Output:
    """What the model's numbers are: as it says itself, as the client says, or as its answers show."""
    if preprocessing.output is not None:
        return preprocessing.output
    if given is None:
        return "probabilities" if classes else "mean"
    inferred = infer_output(answer(), classes)
    return cast("Output", task.params.choice("output", inferred, ("probabilities", "logits"))) if classes else inferred


def _check_gaps(preprocessing: Preprocessing, inputs: NDArray[np.float32], framework: str) -> None:
    """A network that gets columns as they are cannot read a gap; trees can."""
    if framework not in ("tensorflow", "pytorch"):
        return
    if not all(isinstance(part, Plain) for part in preprocessing.parts):
        return
    gaps = np.isnan(inputs).any(axis=0)
    if gaps.any():
        names = [preprocessing.features[place] for place in np.flatnonzero(gaps)]
        raise Refusal(
            f"columns with gaps, which the network cannot read: {', '.join(names[:8])}",
            where="the training rows",
            do="fill them, leave them out with params.features, or train from scratch, where gaps are filled",
        )
