"""Graphs of dense layers as PyTorch modules, to train them; their weights go back into the same graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from springtide.sdk import Refusal
from springtide.trainers.frameworks.batches import chunks
from springtide.trainers.frameworks.torch_network import TorchLearner
from springtide.trainers.parity import TOLERANCE, relative_difference

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from springtide.trainers.frameworks.onnx_graph import OnnxGraph
    from springtide.trainers.frameworks.seam import Brief
    from springtide.trainers.validation import Rows

__all__ = ["OnnxModule", "learner_of"]

Attributes = dict[str, Any]
_PROBED = 256  # rows on which the module must answer as ONNX Runtime does before it is trained


def _gemm(a: Tensor, b: Tensor, c: Tensor | None = None, /, *, attributes: Attributes) -> Tensor:
    a = a.T if attributes.get("transA") else a
    b = b.T if attributes.get("transB") else b
    product: Tensor = attributes.get("alpha", 1.0) * (a @ b)
    return product if c is None else torch.add(product, c, alpha=attributes.get("beta", 1.0))


def _flatten(x: Tensor, /, *, attributes: Attributes) -> Tensor:
    if attributes.get("axis", 1) != 1:
        raise NotImplementedError("Flatten of another axis than 1")
    return x.flatten(1)


def _reshape(x: Tensor, shape: Tensor, /, *, attributes: Attributes) -> Tensor:
    kept = not attributes.get("allowzero")  # whether a 0 stands for the size that there is
    return x.reshape([x.shape[at] if size == 0 and kept else int(size) for at, size in enumerate(shape)])


# What each operator of a graph of dense layers computes. Source: https://onnx.ai/onnx/operators/
_OPERATORS: Mapping[str, Callable[..., Tensor]] = {
    "Add": lambda a, b, attributes: a + b,
    "Sub": lambda a, b, attributes: a - b,
    "Mul": lambda a, b, attributes: a * b,
    "Div": lambda a, b, attributes: a / b,
    "MatMul": lambda a, b, attributes: a @ b,
    "Gemm": _gemm,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Identity": lambda x, attributes: x,
    "Dropout": lambda x, *_, attributes: x,
    "Relu": lambda x, attributes: functional.relu(x),
    "LeakyRelu": lambda x, attributes: functional.leaky_relu(x, attributes.get("alpha", 0.01)),
    "Elu": lambda x, attributes: functional.elu(x, attributes.get("alpha", 1.0)),
    "Selu": lambda x, attributes: functional.selu(x),
    "Softplus": lambda x, attributes: functional.softplus(x),
    "Sigmoid": lambda x, attributes: torch.sigmoid(x),
    "Tanh": lambda x, attributes: torch.tanh(x),
    "Softmax": lambda x, attributes: torch.softmax(x, attributes.get("axis", -1)),
}


class OnnxModule(nn.Module):
    """The nodes of a graph in their order; matrices and vectors of numbers are weights, all else stays as it is."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        super().__init__()
        self.nodes = [_read_node(node) for node in graph.node]
        self.input, self.output = _inputs(graph)[0].name, graph.output[0].name
        self.weights, self.constants = nn.ParameterDict(), dict[str, Tensor]()
        matrices = {name for node in graph.node if node.op_type in ("Gemm", "MatMul") for name in node.input}
        for place, initializer in enumerate(graph.initializer):
            value = torch.from_numpy(numpy_helper.to_array(initializer).copy())
            vector = value.ndim == 1 and len(value) > 1
            if value.is_floating_point() and (initializer.name in matrices or vector):
                self.weights[str(place)] = nn.Parameter(value)  # names of tensors may hold dots, names of weights not
            else:
                self.constants[initializer.name] = value
        self.places = {graph.initializer[int(place)].name: place for place in self.weights}

    def forward(self, features: Tensor) -> Tensor:
        values = {name: self.weights[place] for name, place in self.places.items()}
        values |= {**self.constants, self.input: features}
        for operator, inputs, output, attributes in self.nodes:
            arguments = [values[name] if name else None for name in inputs]
            values[output] = attributes["value"] if operator is None else operator(*arguments, attributes=attributes)
        answer: Tensor = values[self.output]
        return answer


class OnnxNetwork:
    """A graph while it is trained."""

    def __init__(self, graph: OnnxGraph) -> None:
        self.graph = graph
        self.module: nn.Module = _module(graph)

    def answer(self, inputs: NDArray[np.float32]) -> NDArray[Any]:
        """Its numbers for (n, width) inputs."""
        with torch.inference_mode():
            return np.concatenate([self.module(torch.from_numpy(part)).numpy() for part in chunks(inputs)])

    def predict(self, inputs: Tensor) -> Tensor:
        """Its numbers, with gradients."""
        numbers: Tensor = self.module(inputs)
        return numbers


class OnnxLearner(TorchLearner):
    """As a PyTorch module; the best weights are put into the graph."""

    def __init__(self, network: OnnxNetwork, training: Rows, validation: Rows, brief: Brief) -> None:
        super().__init__(network, training, validation, brief)
        self.graph = network.graph

    def restore(self) -> None:
        """Go back to the best weights, and write them into the graph."""
        super().restore()
        module = self.network.module
        assert isinstance(module, OnnxModule), "an OnnxNetwork has no other"
        self.graph.replace({name: module.weights[place].detach().numpy() for name, place in module.places.items()})


def learner_of(graph: OnnxGraph, training: Rows, validation: Rows, brief: Brief) -> OnnxLearner:
    """Make a graph a module that answers as ONNX Runtime does, and something that trains it.

    Raises
    ------
    Refusal
        The graph has operators or constants that are not trained here, or the module answers otherwise.
    """
    network = OnnxNetwork(graph)
    probe = training.inputs[:_PROBED]
    try:
        difference = relative_difference(network.answer(probe), graph.answer(probe))
    except (ArithmeticError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError) as error:
        raise _not_trained(graph, f"{type(error).__name__}: {error!s:.200}") from error
    if not difference <= TOLERANCE:
        raise _not_trained(graph, f"as a PyTorch module it answers otherwise, by {difference:.1e}, relative")
    return OnnxLearner(network, training, validation, brief)


def _inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """The inputs that are no weights; old graphs list both."""
    weights = {initializer.name for initializer in graph.initializer}
    return [value for value in graph.input if value.name not in weights]


def _read_node(node: onnx.NodeProto) -> tuple[Callable[..., Tensor] | None, tuple[str, ...], str, Attributes]:
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    if node.op_type == "Constant":
        return None, (), node.output[0], {"value": torch.from_numpy(numpy_helper.to_array(attributes["value"]).copy())}
    return _OPERATORS[node.op_type], tuple(node.input), node.output[0], attributes


def _module(graph: OnnxGraph) -> OnnxModule:
    foreign = sorted({node.op_type for node in graph.proto.graph.node} - set(_OPERATORS) - {"Constant"})
    if foreign:
        raise _not_trained(graph, f"its operators {', '.join(foreign[:8])} are not of dense layers")
    try:
        return OnnxModule(graph.proto.graph)
    except (KeyError, NotImplementedError, TypeError, ValueError) as error:
        raise _not_trained(graph, str(error)[:200]) from error


def _not_trained(graph: OnnxGraph, why: str) -> Refusal:
    return Refusal(
        f"this graph cannot be trained: {why}",
        where=graph.path.name,
        do='ask for a new model (params.start = "scratch"); this one is then what it has to beat',
    )
