"""What is to be done: task.json."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from springtide.sdk import Params, Refusal

__all__ = ["Column", "Kind", "Question", "Task", "read_task"]

# What a job asks for has the same words in `springtide.domain.job`, which is not there in the sandbox; a test compares them.
Mode = Literal["train", "predict", "convert"]
Question = Literal["regression", "binary", "multiclass"]
Kind = Literal["number", "category", "date"]
FRAMEWORKS = ("tensorflow", "pytorch", "lightgbm", "xgboost", "scikit-learn")


@dataclass(frozen=True, slots=True)
class Column:
    """One feature of the table."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work; `docs/trainers.md` lists the keys of task.json."""

    mode: Mode
    question: Question  # the key "task"
    data: Path
    out: Path
    columns: tuple[Column, ...]  # the features, in the table's order
    target: str
    time: str | None = None  # the column that says when; rows come in its order
    framework: str | None = None  # for a training without a model
    model: Path | None = None
    preprocessing: Path | None = None  # what makes rows the model's input; plain when None
    script: Path | None = None
    classes: tuple[str, ...] | None = None  # those of the training rows when None
    budget_s: float = 60.0
    seed: int = 0
    params: Params = field(default_factory=lambda: Params({}))

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the columns that a model may see."""
        return tuple(column.name for column in self.columns)


def read_task(path: Path) -> Task:
    """Read a task.json.

    Raises
    ------
    Refusal
        A key is missing, unknown or wrong.
    """
    try:
        written = json.loads(path.read_text())
        return _task(dict(written), path.name)
    except (KeyError, TypeError, ValueError) as error:
        said = f"misses {error}" if isinstance(error, KeyError) else str(error)
        raise Refusal(f"the task cannot be read: {said:.200}", where=path.name, do="see docs/trainers.md") from error


def _task(written: dict[str, Any], where: str) -> Task:
    target = str(written.pop("target"))
    columns = tuple(Column(str(c["name"]), _one_of(Kind, c["kind"])) for c in written.pop("columns"))
    classes = written.pop("classes", None)
    framework = written.pop("framework", None)
    if framework is not None and framework not in FRAMEWORKS:
        raise Refusal(f"no framework {framework!r}", where=where, do=f"one of {', '.join(FRAMEWORKS)}")
    task = Task(
        mode=_one_of(Mode, written.pop("mode")),
        question=_one_of(Question, written.pop("task")),
        data=Path(written.pop("data")),
        out=Path(written.pop("out", "/work/out")),
        columns=tuple(column for column in columns if column.name != target),
        target=target,
        time=written.pop("time", None),
        framework=framework,
        **{name: _path(written.pop(name, None)) for name in ("model", "preprocessing", "script")},
        classes=tuple(map(str, classes)) if classes is not None else None,
        budget_s=float(written.pop("budget_s", 60.0)),
        seed=int(written.pop("seed", 0)),
        params=Params(written.pop("params", {})),
    )
    if written:
        raise Refusal(f"unknown keys {sorted(written)}", where=where, do="see docs/trainers.md")
    return task


def _path(written: str | None) -> Path | None:
    return Path(written) if written is not None else None


def _one_of(words: Any, value: object) -> Any:  # a Literal has no type of its own
    if value not in get_args(words):
        raise ValueError(f"{value!r} is none of {', '.join(get_args(words))}")
    return value
