"""A second task behind the seam, as small as one can be: a number column from others, by least squares.

It shows what the seam asks of a task that is no forecast: rows without a grid, a loss that overlaps with nothing,
a graph written by hand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from pydantic import BaseModel, ConfigDict

from springtide.domain.errors import BadRows, Conflict, TooFewRows
from springtide.domain.rows import SERIES, TIME, Filter
from springtide.evaluation.losses import Losses
from springtide.tasks.seam import Advance, Encoded, Exported

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    import polars as pl
    from numpy.typing import NDArray

    from springtide.tasks.seam import Budget, Checkpoint, Progress

    Floats = NDArray[np.float64]
    Predictor = Callable[["Split"], Floats]  # one answer per judging item

GRAPH, SIGNATURE, PROBE = "model.onnx", "signature.json", "probe.npz"
PULL = 50.0  # how strongly a fine-tuning holds on to the champion's weights


class TabularRecipe(BaseModel):
    """Which column is predicted from which."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: str = "target"
    features: tuple[str, ...] = ("x1", "x2")


@dataclass(frozen=True, eq=False)
class Split:
    """Rows up to `judged_from` are learned from, later ones are judged."""

    recipe: TabularRecipe
    inputs: Floats  # (rows, features)
    target: Floats  # (rows,)
    seconds: NDArray[np.int64]  # (rows,)
    judged: NDArray[np.bool_]  # (rows,)
    trained_until: datetime
    judged_from: datetime

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"training_items": int((~self.judged).sum()), "judging_items": int(self.judged.sum())}


@dataclass(frozen=True, eq=False)
class Line:
    """Weights, the constant last."""

    weights: Floats
    facts: Mapping[str, Any]

    def __call__(self, split: Split) -> Floats:
        return _with_one(split.inputs[split.judged]) @ self.weights


class ExportedLine:
    """The exported graph as a rival."""

    def __init__(self, folder: Path) -> None:
        self.signature = json.loads((folder / SIGNATURE).read_text())
        self.session = onnxruntime.InferenceSession(folder / GRAPH, providers=["CPUExecutionProvider"])

    def __call__(self, split: Split) -> Floats:
        asked = [split.recipe.target, *split.recipe.features]
        answered = [self.signature["target"], *self.signature["features"]]
        if asked != answered:
            raise Conflict(
                f"the champion answers another question: {answered}", where=f"this run asks {asked}", do="rename it"
            )
        answers: Floats = self.session.run(None, {"x": split.inputs[split.judged]})[0]
        return answers


class TabularTask:
    """Least squares; a fine-tuning is pulled towards the champion's weights."""

    name = "tabular"
    recipe: type[BaseModel] = TabularRecipe
    costly_baselines = ("median",)

    def rows(self, recipe: TabularRecipe, *, until: datetime | None) -> Filter:
        return Filter(end=until)

    def outside(self, recipe: TabularRecipe) -> Mapping[str, Filter]:
        return {}

    def prepare(
        self,
        rows: pl.LazyFrame,
        recipe: TabularRecipe,
        *,
        judged_from: datetime,
        judged_until: datetime | None = None,
        outside: Mapping[str, pl.LazyFrame] = MappingProxyType({}),
    ) -> Split:
        frame = rows.sort(TIME).collect()
        if judged_until is not None:
            frame = frame.filter(frame[TIME] < judged_until)
        seconds = frame[TIME].dt.epoch("s").to_numpy()
        judged = seconds > int(judged_from.timestamp())
        if judged.all() or not judged.any():
            raise TooFewRows("a part would be empty", where="the table", do="bring in more rows")
        return Split(
            recipe=recipe,
            inputs=frame.select(recipe.features).to_numpy().astype(np.float64),
            target=frame[recipe.target].to_numpy().astype(np.float64),
            seconds=seconds,
            judged=judged,
            trained_until=_moment(seconds[~judged].max()),
            judged_from=_moment(seconds[judged].min()),
        )

    def fit(
        self,
        prepared: Split,
        *,
        start: Path | None,
        budget: Budget,
        progress: Progress,
        checkpoint: Checkpoint | None = None,
    ) -> Line:
        x, y = _with_one(prepared.inputs[~prepared.judged]), prepared.target[~prepared.judged]
        before, pull = np.zeros(x.shape[1]), 0.0
        asked = {"target": prepared.recipe.target, "features": list(prepared.recipe.features)}
        if start is not None and json.loads((start / SIGNATURE).read_text()) == asked:
            weights = onnx.load(start / GRAPH).graph.initializer
            before, pull = np.concatenate([numpy_helper.to_array(one).ravel() for one in weights]), PULL
        fitted = np.linalg.solve(x.T @ x + pull * np.eye(x.shape[1]), x.T @ y + pull * before)
        progress(Advance(done=1.0, epoch=1, loss=float(np.abs(x @ fitted - y).mean()), seconds_left=budget.seconds))
        return Line(
            fitted, {"pulled_to": before.tolist() if pull else None, "start": "champion" if pull else "scratch"}
        )

    def predictor(self, fitted: Line) -> Predictor:
        return fitted

    def load(self, folder: Path) -> Predictor:
        return ExportedLine(folder)

    def baselines(self, prepared: Split, also: Collection[str] = ()) -> Mapping[str, Predictor]:
        past = prepared.target[~prepared.judged]
        found = {"mean": float(past.mean())} | ({"median": float(np.median(past))} if "median" in also else {})
        return {name: partial(_constant, value) for name, value in found.items()}

    def losses(self, predictor: Predictor, prepared: Split) -> Losses:
        errors = np.abs(predictor(prepared) - prepared.target[prepared.judged])
        groups = np.full(errors.size, "rows")
        return Losses(
            "absolute error",
            errors,
            prepared.seconds[prepared.judged],
            groups,
            metrics={"rmse": float(np.sqrt((errors**2).mean()))},
        )

    def export(self, fitted: Line, prepared: Split, folder: Path) -> Exported:
        (folder / GRAPH).write_bytes(_graph(fitted.weights))
        signature = {"target": prepared.recipe.target, "features": list(prepared.recipe.features)}
        (folder / SIGNATURE).write_text(json.dumps(signature))
        probe = prepared.inputs[prepared.judged][:4]
        answers = ExportedLine(folder).session.run(None, {"x": probe})[0]
        np.savez(folder / PROBE, in_x=probe, out_0=answers)
        parity = float(np.abs(answers - _with_one(probe) @ fitted.weights).max())
        return Exported(files=(GRAPH, SIGNATURE, PROBE), signature=signature, parity=parity)

    def explain(self, folder: Path, prepared: Split, *, seed: int) -> Mapping[str, Any]:
        return {}


class TabularCodec:
    """The serving half: columns in, one number a row out."""

    def series(self, signature: Mapping[str, Any]) -> tuple[str, ...]:
        return ()

    def rows(self, signature: Mapping[str, Any]) -> tuple[Filter, int]:
        return Filter(), 1

    def outside(self, signature: Mapping[str, Any]) -> Mapping[str, tuple[Filter, int]]:
        return {}

    def encode(
        self,
        signature: Mapping[str, Any],
        columns: Mapping[str, NDArray[Any]],
        *,
        series: Sequence[str] = (),
        outside: Mapping[str, Mapping[str, NDArray[Any]]] = MappingProxyType({}),
    ) -> Encoded:
        if missing := [name for name in signature["features"] if name not in columns]:
            raise BadRows(f"no column {missing[0]!r}", where="the rows", do="send every feature")
        mine = np.isin(columns[SERIES], series) if series else np.ones(len(columns[SERIES]), dtype=np.bool_)
        x = np.stack([np.asarray(columns[name], dtype=np.float64)[mine] for name in signature["features"]], axis=1)
        return Encoded({"x": x}, {SERIES: columns[SERIES][mine].tolist(), TIME: columns[TIME][mine].tolist()})

    def decode(
        self, signature: Mapping[str, Any], encoded: Encoded, outputs: Sequence[NDArray[Any]], *, model: str
    ) -> dict[str, list[Any]]:
        times = [_moment(seconds) for seconds in encoded.context[TIME]]
        return {SERIES: encoded.context[SERIES], TIME: times, "cutoff": times, model: outputs[0].tolist()}


def _graph(weights: Floats) -> bytes:
    slopes, constant = weights[:-1], weights[-1:]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "slopes"], ["sum"]), helper.make_node("Add", ["sum", "constant"], ["y"])],
        "line",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["batch", slopes.size])],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, ["batch"])],
        [numpy_helper.from_array(slopes, "slopes"), numpy_helper.from_array(constant, "constant")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _constant(value: float, split: Split) -> Floats:
    return np.full(int(split.judged.sum()), value)


def _with_one(inputs: Floats) -> Floats:
    return np.hstack([inputs, np.ones((len(inputs), 1))])


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(int(seconds), tz=UTC)
