"""The client's train.py: loaded and called; what it raises is told with its line."""

from __future__ import annotations

import importlib.util
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from springtide.sdk import Refusal
from springtide.trainers.answers import infer_output, read_answer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    import pandas as pd
    from numpy.typing import NDArray


__all__ = ["Script", "load_script"]


@dataclass(frozen=True, slots=True)
class Script:
    """The functions of a script."""

    path: Path
    train: Callable[..., object]
    predict: Callable[..., object] | None

    def call(self, function: Callable[..., object], *arguments: object) -> object:
        """Call one of them; what it raises becomes a refusal with its line."""
        try:
            return function(*arguments)
        except Refusal:
            raise
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            raise _failed(self.path, error) from error

    def answer(self, rows: pd.DataFrame, model: Path, classes: int) -> NDArray[np.float64]:
        """What its `predict` says: means (n,), or probabilities (n, classes).

        Raises
        ------
        Refusal
            It fails, or its answer has another shape.
        """
        assert self.predict is not None, "asked only of a script that has it"
        try:
            raw = np.asarray(self.call(self.predict, rows, model), np.float64)
        except (TypeError, ValueError) as error:
            raise Refusal(
                f"predict gives no numbers: {error!s:.200}", where=self.path.name, do="give an array"
            ) from error
        if raw.ndim == 0 or len(raw) != len(rows):
            raise Refusal(
                f"predict gives an array of the shape {raw.shape} for {len(rows)} rows",
                where=self.path.name,
                do="give one answer a row, in the order of the rows",
            )
        return read_answer(raw, classes, infer_output(raw, classes))


def load_script(path: Path) -> Script:
    """Run the script's top level, and find its functions.

    Raises
    ------
    Refusal
        It cannot be run, or has no function `train`.
    """
    spec = importlib.util.spec_from_file_location("client_script", path)
    assert spec is not None, "a path that ends in .py has a loader"
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        raise _failed(path, error) from error
    return _script(path, module)


def _script(path: Path, module: ModuleType) -> Script:
    train, predict = getattr(module, "train", None), getattr(module, "predict", None)
    if not callable(train):
        raise Refusal(
            "the script has no function train",
            where=path.name,
            do="define train(data, model_path, out_path, params, report)",
        )
    return Script(path, train, predict if callable(predict) else None)


def _failed(path: Path, error: BaseException) -> Refusal:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = f", line {frames[-1].lineno}, in {frames[-1].name}" if frames else ""
    return Refusal(
        f"the script ended with {type(error).__name__}: {error!s:.500}",
        where=f"{path.name}{line}",
        do="mend the script; the log holds the whole traceback",
    )
