"""The mode `convert`: a model in, an ONNX graph out that gives the same answers to real rows."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from springtide.sdk import Refusal
from springtide.trainers.answers import infer_output, read_answer
from springtide.trainers.frameworks.seam import check_width
from springtide.trainers.given import open_given
from springtide.trainers.parity import TOLERANCE, relative_difference
from springtide.trainers.prediction import load_given
from springtide.trainers.proving import GRAPH, PROBE
from springtide.trainers.running import Running
from springtide.trainers.table import arrays_of, read_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from springtide.trainers.frameworks import Model
    from springtide.trainers.preprocessing import Preprocessing
    from springtide.trainers.task import Task

__all__ = ["convert"]

CHECKED, PROBED = 1024, 8  # rows that are compared, and kept with their answers


def convert(task: Task) -> dict[str, Any]:
    """Write model.onnx, which takes the matrix of preprocessing.json, and probe.npz: some inputs and their answers.

    Raises
    ------
    Refusal
        No converter can do it, or the graph answers otherwise than the model.
    """
    given = open_given(task)
    if given is None:
        raise Refusal("no model", where="task.json", do="name the model that is to be converted")
    model, preprocessing = load_given(given, task)
    rows = read_rows(task.data, task.features)
    rows = rows.iloc[:: max(1, len(rows) // CHECKED)].head(CHECKED)
    inputs = preprocessing.matrix(arrays_of(rows, task.columns))
    check_width(model, inputs.shape[1])
    path = Path(tempfile.mkdtemp(prefix="graph-")) / GRAPH
    try:
        model.export(path, inputs.shape[1])
    except Exception as error:  # the converters have no errors in common
        said = f"{type(error).__name__}: {error!s:.300}"
        raise Refusal(
            f"there is no converter for it: {said}", where=given.path.name, do="serve it in its own format"
        ) from error
    graph = _with_one_output(path)
    running = Running(graph, GRAPH)
    answers = running.answer(inputs)
    classes = len(preprocessing.classes)
    output = infer_output(answers, classes)
    difference = relative_difference(read_answer(answers, classes, output), _expected(model, preprocessing, inputs))
    if not difference <= TOLERANCE:
        raise Refusal(
            f"the graph answers otherwise than the model, by {difference:.1e}, relative, on {len(inputs)} real rows",
            where=GRAPH,
            do="serve the model in its own format",
        )
    (task.out / GRAPH).write_bytes(graph)
    np.savez(
        task.out / PROBE,
        allow_pickle=False,
        **{f"in_{running.input}": inputs[:PROBED], "out_0": running.answer(inputs[:PROBED])},
    )
    return {
        "model": GRAPH,
        "output": output,
        "parity": difference,
        "tolerance": TOLERANCE,
        "checked_rows": len(inputs),
        "width": inputs.shape[1],
    }


def _expected(model: Model, preprocessing: Preprocessing, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
    raw, classes = model.answer(inputs), len(preprocessing.classes)
    return read_answer(raw, classes, preprocessing.output or infer_output(raw, classes))


def _with_one_output(path: Path) -> bytes:
    """The graph with its answer alone: classifiers also give the label."""
    proto = onnx.load_model(path)
    answer = Running(proto.SerializeToString(), GRAPH).output
    kept = [output for output in proto.graph.output if output.name == answer]
    del proto.graph.output[:]
    proto.graph.output.extend(kept)
    graph: bytes = proto.SerializeToString()
    return graph
