"""PyTorch: a multilayer perceptron, and models saved with torch.export."""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from springtide.sdk import Refusal
from springtide.trainers.answers import measure, read_answer
from springtide.trainers.formats import FORMATS
from springtide.trainers.frameworks.batches import NETWORK_PARAMS, Shape, batch_size, chunks, shuffled, target_scale

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from springtide.sdk import Deadline
    from springtide.trainers.formats import Format
    from springtide.trainers.frameworks.seam import Brief
    from springtide.trainers.validation import Rows

__all__ = ["PARAMS", "TorchLearner", "TorchNetwork", "build", "load"]

PARAMS = (*NETWORK_PARAMS, "weight_decay")
_TINY = 1e-7  # the least probability that the loss sees, float32


class Scaled(nn.Module):
    """A body that learns in standard deviations from the mean, and answers in the target's unit."""

    def __init__(self, body: nn.Module, mean: float, scale: float) -> None:
        super().__init__()
        self.body = body
        self.mean, self.scale = nn.Buffer(torch.tensor(mean)), nn.Buffer(torch.tensor(scale))

    def forward(self, features: Tensor) -> Tensor:  # (n, width) -> (n, 1)
        numbers: Tensor = self.body(features) * self.scale + self.mean
        return numbers


class Trainable(Protocol):
    """What a `TorchLearner` trains."""

    module: nn.Module

    def answer(self, inputs: NDArray[np.float32]) -> NDArray[Any]:
        """Its numbers for (n, width) inputs."""

    def predict(self, inputs: Tensor) -> Tensor:
        """Its numbers, with gradients."""


class TorchNetwork:
    """A module, or the module of an exported program, which shares its weights."""

    form = FORMATS["pt2"]
    names = None
    classes = None

    def __init__(self, module: nn.Module, *, width: int, program: torch.export.ExportedProgram | None = None) -> None:
        self.module, self.width, self.program = module, width, program

    def answer(self, inputs: NDArray[np.float32]) -> NDArray[Any]:
        """Its numbers for (n, width) inputs."""
        self._set_mode(training=False)
        with torch.inference_mode():
            return np.concatenate([self.module(torch.from_numpy(part)).numpy() for part in chunks(inputs)])

    def predict(self, inputs: Tensor) -> Tensor:
        """Its numbers, with gradients."""
        self._set_mode(training=True)
        numbers: Tensor = self.module(inputs)
        return numbers

    def learner(self, training: Rows, validation: Rows, brief: Brief) -> TorchLearner:
        """Train all of its weights."""
        return TorchLearner(self, training, validation, brief)

    def save(self, path: Path) -> None:
        """Write it with torch.export."""
        with _quiet():
            torch.export.save(self._exported(), path)

    def export(self, path: Path, width: int) -> None:
        """Write it as an ONNX graph."""
        example = (torch.zeros(2, width),)
        with _quiet():
            torch.onnx.export(
                self._exported(),
                example,
                path,
                dynamo=True,
                input_names=["features"],
                external_data=False,
                verbose=False,
            )

    def _exported(self) -> torch.export.ExportedProgram:
        if self.program is None:
            self._set_mode(training=False)
            rows = {0: torch.export.Dim.DYNAMIC}
            self.program = torch.export.export(self.module, (torch.zeros(2, self.width),), dynamic_shapes=(rows,))
        return self.program

    def _set_mode(self, *, training: bool) -> None:
        if self.program is None:  # an exported program has the one mode that it was exported in
            self.module.train(training)


class TorchLearner:
    """Adam with decoupled weight decay over shuffled batches.

    Source: Loshchilov & Hutter 2019, arXiv:1711.05101.
    """

    epochs, patience = 500, 20

    def __init__(self, network: Trainable, training: Rows, validation: Rows, brief: Brief) -> None:
        weights = [weight for weight in network.module.parameters() if weight.requires_grad]
        if not weights:
            raise Refusal("the model has no weights that can be trained", where="the model", do="train from scratch")
        torch.manual_seed(brief.seed)
        self.network, self.validation, self.brief = network, validation, brief
        self.inputs = torch.from_numpy(training.inputs)
        self.target = torch.from_numpy(training.target.astype(np.int64 if brief.classes else np.float32))
        self.scale = 1.0 if brief.classes else target_scale(training)
        self.batch = batch_size(brief, len(training))
        self.random = np.random.default_rng(brief.seed)
        self.optimizer = torch.optim.AdamW(
            weights,
            lr=brief.learning_rate(3e-4 if brief.fine_tune else 1e-3),
            weight_decay=brief.params.number("weight_decay", 1e-4, low=0, high=10),
        )

    def epoch(self, deadline: Deadline) -> None:
        """One pass over the training part."""
        for rows in shuffled(len(self.inputs), self.batch, self.random):
            self.optimizer.zero_grad()
            loss = self._training_loss(self.network.predict(self.inputs[rows]), self.target[rows])
            torch.autograd.backward(loss)
            self.optimizer.step()
            if deadline.passed:
                break

    def loss(self) -> float:
        """Return the validation loss."""
        raw = self.network.answer(self.validation.inputs)
        return measure(read_answer(raw, self.brief.classes, self.brief.output), self.validation.target)

    def keep(self) -> None:
        """Take the present weights as the best."""
        self.best = copy.deepcopy(self.network.module.state_dict())

    def restore(self) -> None:
        """Go back to the best weights."""
        self.network.module.load_state_dict(self.best)

    def _training_loss(self, raw: Tensor, target: Tensor) -> Tensor:
        if not self.brief.classes:
            return functional.mse_loss((raw.reshape(-1) - target.float()) / self.scale, torch.zeros(len(target)))
        if raw.ndim == 1 or raw.shape[1] == 1:
            return self._binary_loss(raw.reshape(-1), target.float())
        logs = raw.clamp_min(_TINY).log() if self.brief.output == "probabilities" else raw.log_softmax(dim=1)
        return functional.nll_loss(logs, target)

    def _binary_loss(self, raw: Tensor, target: Tensor) -> Tensor:
        if self.brief.output == "probabilities":
            return functional.binary_cross_entropy(raw.clamp(_TINY, 1 - _TINY), target)
        return functional.binary_cross_entropy_with_logits(raw, target)


def build(training: Rows, brief: Brief) -> TorchNetwork:
    """A perceptron with rectified layers."""
    shape = Shape.of(training, brief)
    torch.manual_seed(brief.seed)
    layers: list[nn.Module] = []
    width = brief.width
    for hidden in shape.hidden:
        layers += [nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(shape.dropout)]
        width = hidden
    layers.append(nn.Linear(width, shape.outputs))
    if brief.classes:
        return TorchNetwork(nn.Sequential(*layers, nn.Softmax(dim=1)), width=brief.width)
    return TorchNetwork(Scaled(nn.Sequential(*layers), shape.mean, shape.scale), width=brief.width)


def load(path: Path, form: Format) -> TorchNetwork:
    """Load an exported program.

    Raises
    ------
    Refusal
        It is a state dict, cannot be loaded, or takes something else than (n, width) of any n.
    """
    if form.name == "state-dict":
        raise Refusal(
            "a state dict holds weights, and not the network they belong to",
            where=path.name,
            do="send it with a script that builds the network, or save the model with torch.export",
        )
    try:
        program = torch.export.load(path)
    except Exception as error:  # torch documents no errors; whatever it is, the file is at fault
        raise Refusal(
            f"torch cannot load it: {error!s:.300}", where=path.name, do="export it with torch 2.13"
        ) from error
    return TorchNetwork(program.module(), width=_width(program, path), program=program)


def _width(program: torch.export.ExportedProgram, path: Path) -> int:
    """The numbers a row that the one input of a program has."""
    shapes = [
        node.meta["val"].shape
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in program.graph_signature.user_inputs
    ]
    if len(shapes) != 1 or len(shapes[0]) != 2:
        raise Refusal(
            f"the model takes {len(shapes)} inputs of shapes {[tuple(map(str, shape)) for shape in shapes]}; it is to take one of (n, width)",
            where=path.name,
            do="wrap it in a module that takes one table of float32, or send a script",
        )
    if isinstance(shapes[0][0], int):
        raise Refusal(
            f"the model was exported for exactly {shapes[0][0]} rows",
            where=path.name,
            do="export it with dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)",
        )
    return int(shapes[0][1])


def _quiet() -> warnings.catch_warnings[list[warnings.WarningMessage] | None]:
    """Hide what torch has to say about its own parts."""
    return warnings.catch_warnings(action="ignore", category=FutureWarning)
