"""The mode `train` with the client's own train.py."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from springtide.sdk import Params, Refusal, report
from springtide.sdk.reporting import tell
from springtide.trainers.answers import infer_output
from springtide.trainers.archives import pack_folder
from springtide.trainers.formats import FORMATS, PREPROCESSING, recognise
from springtide.trainers.given import Given, open_given
from springtide.trainers.labels import label
from springtide.trainers.prediction import load_given
from springtide.trainers.scripts import load_script
from springtide.trainers.table import arrays_of, in_order, read_rows, read_target

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from springtide.trainers.scripts import Script
    from springtide.trainers.task import Task

__all__ = ["train_by_script"]

MOST_BYTES = 4 << 30  # of the model that a script writes
_TRIED = 100  # rows that the new model has to answer
_DO = "write one model file into out_path, such as out_path / 'model.keras'"


def train_by_script(task: Task) -> dict[str, Any]:
    """Call the script's `train`, and see whether what it wrote is a model that answers.

    Returns
    -------
    dict
        What result.json says. Nothing in it comes from what the script reported.

    Raises
    ------
    Refusal
        The script fails; it wrote no model, several, or something else; the model cannot answer.
    """
    assert task.script is not None, "a task without a script is trained by us"
    given = open_given(task)
    rows = in_order(read_rows(task.data, (*task.features, task.target)), task)
    known = given.preprocessing.classes if given and given.preprocessing else task.classes
    _, classes = read_target(rows, task, known)
    script = load_script(task.script)
    folder = task.out / "written"
    folder.mkdir()
    tell("phase", name="script", rows=len(rows), start="given" if given else "scratch")
    table = rows[[*task.features, task.target]]
    if classes:
        table = table.assign(**{task.target: table[task.target].map(label)})
    script.call(script.train, table, given.path if given else None, folder, _params(task, classes), report)
    file = _take(folder, task.out)
    form = recognise(file)
    _try(script, Given(file, form, None), replace(task, classes=classes or None), rows.tail(_TRIED))
    return {
        "model": file.name,
        "format": form.name,
        "framework": form.framework,
        "start": "given" if given else "scratch",
        "predicted_by": "springtide" if script.predict is None else "script",
        "classes": list(classes),
        "rows": len(rows),
    }


def _params(task: Task, classes: tuple[str, ...]) -> Params:
    """What the client sent, and what the task says; the task goes first."""
    said = {
        "target": task.target,
        "task": task.question,
        "features": list(task.params.get("features", task.features)),
        "classes": list(classes),
        "time": task.time,
        "budget_s": task.budget_s,
        "seed": task.seed,
    }
    return Params({**task.params, **said})


def _take(folder: Path, out: Path) -> Path:
    """Move the one model that was written to its place; a SavedModel folder is zipped."""
    entries = sorted(folder.rglob("*"))
    links = [entry.name for entry in entries if entry.is_symlink() or not (entry.is_file() or entry.is_dir())]
    if links:
        raise Refusal(f"the script wrote links or devices: {', '.join(links[:5])}", where="out_path", do=_DO)
    files = [entry for entry in entries if entry.is_file()]
    size = sum(file.stat().st_size for file in files)
    if size > MOST_BYTES:
        raise Refusal(
            f"the script wrote {size >> 20} MiB; the limit is {MOST_BYTES >> 20} MiB", where="out_path", do=_DO
        )
    saved = [file.parent for file in files if file.name == "saved_model.pb"]
    if len(saved) == 1:
        target = out / f"model{FORMATS['savedmodel'].suffix}"
        pack_folder(saved[0], target)
        return target
    if len(files) != 1:
        names = ", ".join(file.name for file in files[:5]) or "nothing"
        raise Refusal(f"the script wrote {len(files)} files: {names}", where="out_path", do=_DO)
    return files[0].rename(out / f"model{recognise(files[0]).suffix}")


def _try(script: Script, new: Given, task: Task, rows: pd.DataFrame) -> None:
    """Have the new model answer some rows, here and now, and note how it is to be asked."""
    if script.predict is not None:
        script.answer(rows[list(task.features)], new.path, len(task.classes or ()))
        return
    model, preprocessing = load_given(new, task)
    raw = model.answer(preprocessing.matrix(arrays_of(rows, task.columns)))
    replace(preprocessing, output=infer_output(raw, len(preprocessing.classes))).write(task.out / PREPROCESSING)
