"""A training as bytes, from which another process goes on as if it had never been interrupted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from springtide.tasks.forecast.networks.forecaster import build_forecaster
from springtide.tasks.forecast.networks.layout import Layout

if TYPE_CHECKING:
    from springtide.tasks.forecast.items import Windows
    from springtide.tasks.forecast.networks.forecaster import Forecaster
    from springtide.tasks.seam import Checkpoint

__all__ = ["CHECKPOINT_S", "Standing", "TrainingCheckpoint", "UnusableCheckpoint", "decode", "encode", "fingerprint"]

CHECKPOINT_S = 10.0  # least seconds between two checkpoints
DIGEST = 32  # bytes of a SHA-256

Tensors = Mapping[str, Tensor]  # by name


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """Where a training stands.

    Attributes
    ----------
    layout : Layout
        Of the network; it has numbers that a fresh start works out from the rows.
    doubt_threshold : float
        The one number of a network that is not among its weights.
    weights : tensors by name
        Of the network as it began; of the trained one when the training has ended.
    facts : mapping
        ``steps``, ``best_step`` and ``seconds`` so far; all that is said of the training when it has ended.
    parts : tensors by part and name
        All else that is needed to go on; empty when the training has ended.
    """

    layout: Layout
    doubt_threshold: float
    weights: Tensors
    facts: Mapping[str, Any]
    parts: Mapping[str, Tensors]

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to train."""
        return not self.parts

    def network(self) -> Forecaster:
        """The network with these `weights`."""
        with torch.random.fork_rng(devices=[]):
            network = build_forecaster(self.layout)
        network.load_state_dict(self.weights)
        network.doubt.threshold = self.doubt_threshold
        return network


class UnusableCheckpoint(ValueError):
    """A checkpoint that is damaged, or of another training."""


class TrainingCheckpoint:
    """The checkpoint of one training: read once, then replaced every `every_s` seconds and when the training ends.

    `standing` is where it stood when the checkpoint was written; None where there was none that can be used.
    """

    def __init__(self, storage: Checkpoint, mark: bytes, *, every_s: float = CHECKPOINT_S) -> None:
        self.every_s = every_s
        self._storage, self._mark = storage, mark
        self.standing: Standing | None = None
        self.facts: dict[str, Any] = {"resumed_from": 0}
        if (data := storage.load()) is None:
            return
        try:
            self.standing = decode(data, mark)
        except UnusableCheckpoint as problem:
            self.facts["checkpoint_ignored"] = str(problem)
        else:
            self.facts["resumed_from"] = self.standing.facts["steps"]

    def save(self, standing: Standing) -> None:
        """Replace what was saved before."""
        self._storage.save(encode(standing, self._mark))


def encode(standing: Standing, mark: bytes) -> bytes:
    """The bytes of a checkpoint: a digest of all that follows, the `mark`, and a map whose tensors are safetensors.

    Nothing in it is a pickle.
    """
    parts = {"weights": standing.weights, **standing.parts}
    tensors = {
        f"{part}:{name}": tensor.detach().cpu().contiguous()
        for part, named in parts.items()
        for name, tensor in named.items()
    }
    content = mark + msgspec.msgpack.encode(
        {
            "layout": standing.layout,
            "doubt_threshold": standing.doubt_threshold,
            "facts": standing.facts,
            "tensors": safetensors.torch.save(tensors),
        }
    )
    return sha256(content).digest() + content


def decode(data: bytes, mark: bytes) -> Standing:
    """What `encode` was given.

    Raises
    ------
    UnusableCheckpoint
        If a byte has changed or is missing, or if it has another `mark`.
    """
    content = memoryview(data)[DIGEST:]
    if sha256(content).digest() != data[:DIGEST]:
        raise UnusableCheckpoint("it is damaged")
    if content[: len(mark)] != mark:
        raise UnusableCheckpoint(
            "it is of another training: the settings, the rows, the start or the code have changed"
        )
    found = msgspec.msgpack.decode(content[len(mark) :])
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in safetensors.torch.load(found["tensors"]).items():
        part, _, name = key.partition(":")
        parts.setdefault(part, {})[name] = tensor
    return Standing(
        layout=msgspec.convert(found["layout"], Layout),
        doubt_threshold=found["doubt_threshold"],
        weights=parts.pop("weights"),
        facts=found["facts"],
        parts=parts,
    )


def fingerprint(windows: Windows, layout: Layout, champion: Forecaster | None, *, seed: int) -> bytes:
    """(32,) bytes that two trainings share only if they are the same one.

    Parameters
    ----------
    windows : Windows
        The items; everything that the network sees of them counts.
    layout : Layout
        What is known of it before anything is fitted.
    champion : Forecaster, optional
        The network that the training starts from.
    seed : int
        Of the first weights and of the batches.
    """
    panel = windows.panel
    made_of = [str(torch.__version__), _code(), windows.recipe.model_dump(mode="json"), layout, seed]
    digest = sha256(msgspec.json.encode(made_of))
    arrays = [panel.bounds, panel.seconds, panel.values, panel.filled, panel.market]
    arrays += [windows.features.values, windows.train, windows.validation]
    if champion is not None:
        arrays += [weights.numpy() for weights in champion.state_dict().values()]
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


def _code() -> str:
    """A digest of this task's code: weights that one version began are not those that another would go on with."""
    folder = Path(__file__).parent
    return sha256(b"".join(path.read_bytes() for path in sorted(folder.rglob("*.py")))).hexdigest()
