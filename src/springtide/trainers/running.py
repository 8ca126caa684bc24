"""A graph in ONNX Runtime, which every environment has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from springtide.sdk import Refusal

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Running"]

_FATAL = 4  # ONNX Runtime's log level: what fails is raised, and need not be printed as well


class Running:
    """A graph in ONNX Runtime: one table of float32 in; of its outputs the numbers of the answer.

    `threads` are as many as there are cores when 0.
    """

    def __init__(self, graph: bytes, where: str, *, threads: int = 0) -> None:
        try:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            options.enable_cpu_mem_arena = False  # it would take more than it needs
            options.log_severity_level = _FATAL
            self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the errors of ONNX Runtime have no common base
            raise Refusal(
                f"ONNX Runtime cannot run it: {error!s:.300}", where=where, do="export the model again"
            ) from error
        inputs = self.session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 2 or inputs[0].type != "tensor(float)":
            found = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
            raise Refusal(
                f"the graph takes {found}; it is to take one table of float32",
                where=where,
                do="export it with one input of (n, width)",
            )
        self.input, width = inputs[0].name, inputs[0].shape[1]
        self.width = width if isinstance(width, int) else None
        outputs = [
            output.name for output in self.session.get_outputs() if output.type in ("tensor(float)", "tensor(double)")
        ]
        if not outputs:
            raise Refusal("the graph has no output of numbers", where=where, do="export it without zipmap")
        self.output = outputs[-1]  # classifiers of scikit-learn give the label first, then the probabilities

    def answer(self, inputs: NDArray[np.float32]) -> NDArray[Any]:
        """Its numbers for (n, width) inputs."""
        return np.asarray(self.session.run([self.output], {self.input: inputs})[0])
