"""The model that came with a task: opened as far as its files, and what makes rows its input."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from springtide.sdk import Refusal
from springtide.trainers.archives import unpack
from springtide.trainers.formats import PREPROCESSING, Format, recognise
from springtide.trainers.preprocessing import Preprocessing, plain, read_preprocessing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from springtide.trainers.frameworks import Model
    from springtide.trainers.task import Task

__all__ = ["Given", "choose_preprocessing", "open_given", "plain_columns"]


@dataclass(frozen=True, slots=True)
class Given:
    """A model file with the ending of its format, and its preprocessing if it was trained here."""

    path: Path
    form: Format
    preprocessing: Preprocessing | None


def open_given(task: Task) -> Given | None:
    """Open the task's model, unpacking a bundle; no framework has seen it yet."""
    if task.model is None:
        return None
    path, form, written = task.model, recognise(task.model), task.preprocessing
    if form.name == "bundle":
        folder = Path(tempfile.mkdtemp(prefix="bundle-"))
        unpack(path, folder)
        path = _model_of(folder, task.model.name)
        form, written = recognise(path), written or folder / PREPROCESSING
    if form.name == "bundle":
        raise Refusal("a bundle in a bundle", where=task.model.name, do=f"pack the model and its {PREPROCESSING}")
    preprocessing = read_preprocessing(written) if written is not None else None
    return Given(_with_ending(path, form), form, preprocessing)


def choose_preprocessing(task: Task, given: Given, model: Model, classes: tuple[str, ...]) -> Preprocessing:
    """Its own where the model brought it; else the columns as they are.

    A model that was not trained here reads ``params.features``; else the columns that it names, where the table has them all;
    else all features in the table's order. Each is given as float32.
    """
    if given.preprocessing is not None:
        _check_same_question(task, given)
        return given.preprocessing
    columns = plain_columns(task, model.names)
    return plain(columns, question=task.question, target=task.target, classes=classes)


def plain_columns(task: Task, known: Sequence[str] | None = None) -> tuple[str, ...]:
    """Which columns are given as they are.

    Raises
    ------
    Refusal
        A column is not in the table, or holds no numbers.
    """
    kinds = {column.name: column.kind for column in task.columns}
    if "features" in task.params:
        names = tuple(map(str, task.params["features"]))
    elif known is not None and (meant := _meant(known, tuple(kinds))) is not None:
        names = meant
    else:
        names = task.features
    missing = [name for name in names if name not in kinds]
    if missing:
        raise Refusal(f"no columns {missing}", where="params.features", do=f"name some of {', '.join(kinds)}")
    text = [f"{name} ({kinds[name]})" for name in names if kinds[name] != "number"]
    if text:
        raise Refusal(
            f"the model reads numbers, and these columns are none: {', '.join(text[:8])}",
            where="the model's input",
            do="name the columns of numbers in params.features, send the preprocessing.json that the model came with, "
            "add predict(data, model_path) to the script, or train from scratch",
        )
    return names


def _meant(known: Sequence[str], columns: Sequence[str]) -> tuple[str, ...] | None:
    """The columns of the names that a model knows; None where the table does not have them all.

    Libraries write names in a way of their own: LightGBM has an underscore for a space, and takes no brackets or colons.

    >>> _meant(["price", "Temp_(C)"], ["Temp (C)", "price"])
    ('price', 'Temp (C)')
    """
    if set(known) <= set(columns):
        return tuple(known)
    by_sign = {re.sub(r"\W", "_", name): name for name in columns}
    found = [by_sign.get(re.sub(r"\W", "_", name)) for name in known]
    names = tuple(name for name in found if name is not None)
    return names if len(set(names)) == len(known) and len(by_sign) == len(columns) else None


def _check_same_question(task: Task, given: Given) -> None:
    assert given.preprocessing is not None
    learned = given.preprocessing
    if (learned.question, learned.target) != (task.question, task.target):
        raise Refusal(
            f"the model answers another question: {learned.question} of {learned.target!r}, not {task.question} of {task.target!r}",
            where=PREPROCESSING,
            do="ask the model's own question, or train from scratch",
        )


def _model_of(folder: Path, where: str) -> Path:
    """The one model of a bundle; an ONNX graph beside it is its copy."""
    found = [file for file in sorted(folder.iterdir()) if file.is_file() and file.name.startswith("model.")]
    found = [file for file in found if file.suffix != ".onnx"] or found
    if len(found) != 1:
        raise Refusal(f"{len(found)} models in the zip", where=where, do=f"pack one model.* and its {PREPROCESSING}")
    return found[0]


def _with_ending(path: Path, form: Format) -> Path:
    """Frameworks choose their reader by the ending of the name."""
    if path.suffix == form.suffix:
        return path
    named = Path(tempfile.mkdtemp(prefix="model-")) / f"model{form.suffix}"
    named.symlink_to(path.resolve())
    return named
