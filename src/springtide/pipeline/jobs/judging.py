"""How good answers are on the rows that judge: one loss a row, and trivial rivals that saw only what trains."""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import TYPE_CHECKING

import numpy as np

from springtide.domain.errors import ModelRefused
from springtide.evaluation.losses import Losses

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl
    from numpy.typing import NDArray

    from springtide.pipeline.jobs.table import JobTable, Parts

__all__ = ["baselines", "measure", "names_of_baselines", "read_answers", "read_arrays"]

UNREADABLE = (
    ValueError,
    OSError,
    EOFError,
    MemoryError,
    TypeError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
TINY = 1e-6  # the least probability that an answer may give, so that one mistake does not decide
RECENT = 0.1  # the latest share of the training rows


def names_of_baselines(question: str) -> tuple[str, ...]:
    """Those that must be beaten: of all training rows, and of the latest."""
    return ("mean", "recent-mean") if question == "regression" else ("frequencies", "recent-frequencies")


def baselines(table: JobTable, parts: Parts) -> Mapping[str, Losses]:
    """Losses of one answer for every row: the mean of the target, or how frequent each class is."""
    target = parts.training[table.target]
    recent = target.tail(max(1, round(len(target) * RECENT)))
    whole, late = names_of_baselines(table.question)
    return {
        name: measure(_constant(table, part, parts.judging.height), table, parts)
        for name, part in ((whole, target), (late, recent))
    }


def _constant(table: JobTable, target: pl.Series, rows: int) -> NDArray[np.float64]:
    if table.question == "regression":
        return np.full(rows, float(target.mean()))  # type: ignore[arg-type] # numbers have a mean
    counts = np.array([1 + (target == one).sum() for one in table.classes], dtype=np.float64)
    return np.tile(counts / counts.sum(), (rows, 1))


def measure(answers: NDArray[np.float64], table: JobTable, parts: Parts) -> Losses:
    """One loss a judging row: the squared error of a (n,) mean, or the log loss of (n, classes) probabilities.

    The log loss sees no probability below 1e-6. Without a time column the order of the rows counts, and only in this table.
    """
    judging = parts.judging
    target = judging[table.target]
    if table.question == "regression":
        truth = target.to_numpy()
        values = (answers - truth) ** 2
        spread = float(np.mean((truth - truth.mean()) ** 2))
        metrics = {
            "rmse": float(np.sqrt(values.mean())),
            "mae": float(np.abs(answers - truth).mean()),
            "r2": 1 - float(values.mean()) / spread if spread else float("nan"),
        }
        name = f"squared error of {table.target}"
    else:
        place = {one: number for number, one in enumerate(table.classes)}
        truth = np.array([place[one] for one in target])
        chances = np.clip(answers, TINY, None)
        chances /= chances.sum(axis=1, keepdims=True)
        values = -np.log(chances[np.arange(len(truth)), truth])
        hit = np.eye(len(table.classes))[truth]
        metrics = {
            "accuracy": float((answers.argmax(axis=1) == truth).mean()),
            "brier": float(((answers - hit) ** 2).sum(axis=1).mean()),
        }
        name = f"log loss of {table.target}"
    times = np.arange(judging.height) if table.time is None else judging[table.time].dt.epoch("s").to_numpy()
    return Losses(
        name=name,
        values=np.asarray(values, dtype=np.float64),
        times=np.asarray(times, dtype=np.int64),
        groups=np.full(judging.height, "rows"),
        metrics={"loss": float(values.mean()), **metrics},
        clock="order of the rows" if table.time is None else f"column {table.time}",
    )


def read_answers(
    data: Mapping[str, NDArray[np.generic]], table: JobTable, rows: int, *, of: str
) -> NDArray[np.float64]:
    """Answers as they came out of the sandbox, checked: (n,) means, or (n, classes) probabilities in the table's order.

    Raises
    ------
    ModelRefused
        If they are of another shape or of other classes, or no finite numbers.
    """
    wanted = "mean" if table.question == "regression" else "probabilities"
    if wanted not in data:
        raise _refused(of, f"it gave no {wanted}")
    if data[wanted].dtype.kind not in "fiu":
        raise _refused(of, f"its answers are {data[wanted].dtype}, and no numbers")
    answers = np.asarray(data[wanted], dtype=np.float64)
    classes = [str(one) for one in np.atleast_1d(data.get("classes", np.array([])))]
    shape = (rows,) if table.question == "regression" else (rows, len(classes))
    if answers.shape != shape:
        raise _refused(of, f"its answers have the shape {answers.shape} where {shape} was asked for")
    if table.question != "regression":
        if unknown := sorted(set(table.classes) - set(classes)):
            raise _refused(of, f"it does not know the class {unknown[0]!r}")
        answers = answers[:, [classes.index(one) for one in table.classes]]
    if not np.isfinite(answers).all():
        raise _refused(of, "some of its answers are no finite numbers")
    return answers


def read_arrays(data: bytes, *, most_bytes: int) -> dict[str, NDArray[np.generic]]:
    """The arrays of an ``.npz`` that a cell has written: no more than `most_bytes`, and no objects.

    Raises
    ------
    ModelRefused
        If it is something else.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > most_bytes:
                raise _refused("the model", f"its answers take {size:,} bytes, and {most_bytes:,} are enough")
            return {
                member.filename.removesuffix(".npy"): np.lib.format.read_array(
                    io.BytesIO(archive.read(member)), allow_pickle=False
                )
                for member in archive.infolist()
            }
    except UNREADABLE as error:
        raise _refused("the model", f"its answers are no arrays ({type(error).__name__})") from error


def _refused(of: str, what: str) -> ModelRefused:
    return ModelRefused(
        f"{of} cannot be judged: {what}", where="step predict", do="send a model that answers this question"
    )
