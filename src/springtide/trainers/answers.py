"""What a model's numbers mean: means, probabilities or logits; and how good they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from springtide.sdk import Refusal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from springtide.trainers.preprocessing import Output

__all__ = ["MOST", "infer_output", "measure", "read_answer"]

MOST = 1e150  # a target or a mean beyond it has no square
_TINY = 1e-15  # the least probability that the log loss sees


def infer_output(raw: NDArray[Any], classes: int) -> Output:
    """What the numbers of a model are, from its answers to real rows.

    Numbers from 0 to 1 that add up to 1 (or one such number a row) are probabilities, all others logits.

    Parameters
    ----------
    raw : (n,), (n, 1) or (n, classes) array
        Answers of the model.
    classes : int
        0 for a regression.

    Raises
    ------
    Refusal
        If the shape does not fit.
    """
    if classes == 0:
        _check_shape(raw, (1,), "one number a row")
        return "mean"
    _check_shape(raw, (1, classes) if classes == 2 else (classes,), f"{classes} classes")
    table = raw.reshape(len(raw), -1)
    inside = bool((table >= 0).all() and (table <= 1 + 1e-4).all())
    whole = table.shape[1] == 1 or bool(np.allclose(table.sum(axis=1), 1, atol=1e-3))
    return "probabilities" if inside and whole else "logits"


def read_answer(raw: NDArray[Any], classes: int, output: Output) -> NDArray[np.float64]:
    """Means (n,), or probabilities (n, classes), from a model's numbers.

    Raises
    ------
    Refusal
        If the shape does not fit, or a mean is beyond 1e150; what is not finite is left to the caller.

    Examples
    --------
    >>> read_answer(np.array([[0.25]]), 2, "probabilities")
    array([[0.75, 0.25]])
    >>> read_answer(np.array([[0.0, 0.0]]), 2, "logits")
    array([[0.5, 0.5]])
    """
    table = np.asarray(raw, np.float64).reshape(len(raw), -1)
    if classes == 0:
        _check_shape(raw, (1,), "one number a row")
        if (np.isfinite(table) & (np.abs(table) > MOST)).any():
            raise Refusal(
                f"the model answers with numbers beyond {MOST:g}", where="the model's output", do="train from scratch"
            )
        return table[:, 0]
    _check_shape(raw, (1, classes) if classes == 2 else (classes,), f"{classes} classes")
    if table.shape[1] == 1:  # of the second class
        first = np.zeros_like(table) if output == "logits" else 1 - table
        table = np.hstack([first, table])
    if output == "logits":
        table = np.exp(table - table.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = table / np.maximum(table.sum(axis=1, keepdims=True), _TINY)
    return probabilities


def measure(answer: NDArray[np.float64], target: NDArray[Any]) -> float:
    """Root mean squared error of (n,) means, or mean log loss of (n, classes) probabilities; lower is better.

    Examples
    --------
    >>> measure(np.array([1.0, 3.0]), np.array([1.0, 1.0]))
    1.4142135623730951
    """
    if answer.ndim == 1:
        return float(np.sqrt(np.mean((answer - target) ** 2)))
    return float(-np.mean(np.log(np.maximum(answer[np.arange(len(target)), target], _TINY))))


def _check_shape(raw: NDArray[Any], widths: tuple[int, ...], wanted: str) -> None:
    width = 1 if raw.ndim == 1 else raw.shape[1] if raw.ndim == 2 else -1
    if width not in widths:
        raise Refusal(
            f"the model answers with the shape (n, {', '.join(map(str, raw.shape[1:]))}), which is not {wanted}",
            where="the model's output",
            do="send a model whose last layer fits the task, name all classes in params.classes, or train from scratch",
        )
