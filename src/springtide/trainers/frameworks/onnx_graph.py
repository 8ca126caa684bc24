"""ONNX: a graph as it is, in ONNX Runtime; where it is of dense layers, it can be trained with PyTorch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, cast

import onnx
from onnx import numpy_helper

from springtide.sdk import Refusal
from springtide.trainers.formats import FORMATS
from springtide.trainers.running import Running

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from springtide.trainers.fitting import Learner
    from springtide.trainers.formats import Format
    from springtide.trainers.frameworks.seam import Brief
    from springtide.trainers.validation import Rows

__all__ = ["PARAMS", "OnnxGraph", "build", "load"]

PARAMS = ("batch", "epochs", "learning_rate", "patience", "weight_decay")


class OnnxGraph:
    """A graph that ONNX Runtime runs."""

    form = FORMATS["onnx"]
    names = None
    classes = None

    def __init__(self, proto: onnx.ModelProto, path: Path) -> None:
        self.proto, self.path = proto, path
        self.running = Running(proto.SerializeToString(), path.name)
        self.width = self.running.width

    def answer(self, inputs: NDArray[np.float32]) -> NDArray[Any]:
        """Its numbers for (n, width) inputs."""
        return self.running.answer(inputs)

    def learner(self, training: Rows, validation: Rows, brief: Brief) -> Learner:
        """Train its weights with PyTorch."""
        module = importlib.import_module(
            "springtide.trainers.frameworks.onnx_module"
        )  # only to train: it needs PyTorch
        return cast("Learner", module.learner_of(self, training, validation, brief))

    def replace(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Put `weights` into the graph by their names."""
        for initializer in self.proto.graph.initializer:
            if initializer.name in weights:
                initializer.CopyFrom(numpy_helper.from_array(weights[initializer.name], initializer.name))
        self.running = Running(self.proto.SerializeToString(), self.path.name)

    def save(self, path: Path) -> None:
        """Write the graph."""
        path.write_bytes(self.proto.SerializeToString())

    def export(self, path: Path, width: int) -> None:  # the graph knows
        """Write the graph, which is one already."""
        self.save(path)


def build(training: Rows, brief: Brief) -> OnnxGraph:
    """There is no new ONNX graph: another framework makes it."""
    raise Refusal("onnx trains no new model", where="framework", do="choose pytorch or tensorflow; both export ONNX")


def load(path: Path, form: Format) -> OnnxGraph:  # there is one
    """Load a graph that keeps its weights in the file.

    Raises
    ------
    Refusal
        It cannot be read, or its weights are in other files.
    """
    try:
        proto = onnx.load_model(path, load_external_data=False)
    except Exception as error:  # the errors of protobuf have no common base
        raise Refusal(
            f"cannot be read as ONNX: {error!s:.300}", where=path.name, do="export the model again"
        ) from error
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in proto.graph.initializer):
        raise Refusal(
            "its weights are in other files", where=path.name, do="export it as one file (external_data=False)"
        )
    return OnnxGraph(proto, path)
