"""Graphs as jobs make them, written by hand: a sum of two columns, and whatever a test puts in between."""

from __future__ import annotations

import io
import itertools
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from tests.serving_world import verdict

from springtide.app.home import Home, open_home, read_settings
from springtide.domain.model import Manifest
from springtide.domain.rows import Filter, Snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from onnx import GraphProto, ModelProto, NodeProto

    from springtide.domain.model import Version

WIDTH = 2
NOW = datetime(2026, 1, 1, tzinfo=UTC)
INPUTS = np.array([[1.0, 2.0], [3.0, 4.0]], dtype=np.float32)


def model(
    nodes: Sequence[NodeProto], constants: Mapping[str, NDArray[Any]] | None = None, *, width: int | str = WIDTH
) -> ModelProto:
    """A graph from ``features`` (n, 2) to ``answer``."""
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    graph = helper.make_graph(
        list(nodes),
        "by hand",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, None)],
        tensors,
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def summing(times: float = 1.0, *, width: int = WIDTH) -> bytes:
    """`times` the sum of a row."""
    weights = np.full((width, 1), times, dtype=np.float32)
    made: bytes = model(
        [helper.make_node("MatMul", ["features", "weights"], ["answer"])], {"weights": weights}, width=width
    ).SerializeToString()
    return made


def looping() -> bytes:
    """The sum of a row after 2^62 rounds that do nothing."""
    body: GraphProto = helper.make_graph(
        [helper.make_node("Identity", [name], [f"{name}_after"]) for name in ("on", "value")],
        "round",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on_after", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value_after", TensorProto.FLOAT, None),
        ],
    )
    loop = helper.make_node("Loop", ["rounds", "always", "features"], ["turned"], body=body)
    add = helper.make_node("ReduceSum", ["turned", "axis"], ["answer"])
    constants = {"rounds": np.int64(1 << 62), "always": np.bool_(1), "axis": np.array([1])}
    made: bytes = model([loop, add], constants).SerializeToString()
    return made


def doubling(times: int) -> bytes:
    """The sum of a row, and a tensor of 2^`times` numbers on the way: nothing in the graph names that size."""
    names = ["one", *(f"twice{number}" for number in range(times))]
    nodes = [helper.make_node("Concat", [one, one], [two], axis=0) for one, two in itertools.pairwise(names)]
    nodes += [
        helper.make_node("ReduceSum", [names[-1]], ["much"], keepdims=0),
        helper.make_node("ReduceSum", ["features", "axis"], ["sum"]),
        helper.make_node("Max", ["sum", "less"], ["some"]),
        helper.make_node("Min", ["some", "much"], ["answer"]),
    ]
    constants = {"one": np.ones(1, np.float32), "axis": np.array([1]), "less": np.float32(-1e30)}
    made: bytes = model(nodes, constants).SerializeToString()
    return made


def turning(rounds: int, size: int) -> bytes:
    """The sum of a row, after so many products of square matrices of that size: work that takes as long as one likes."""
    names = ["start", *(f"after{number}" for number in range(rounds))]
    nodes = [
        helper.make_node("ReduceMean", ["features"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["square", "mean"], ["start"]),
        *(helper.make_node("MatMul", [one, "square"], [two]) for one, two in itertools.pairwise(names)),
        helper.make_node("ReduceSum", [names[-1]], ["little"], keepdims=0),
        helper.make_node("ReduceSum", ["features", "axis"], ["sum"]),
        helper.make_node("Mul", ["little", "zero"], ["nothing"]),
        helper.make_node("Add", ["sum", "nothing"], ["answer"]),
    ]
    square = np.eye(size, dtype=np.float32)
    made: bytes = model(nodes, {"square": square, "axis": np.array([1]), "zero": np.float32(0)}).SerializeToString()
    return made


def probe(times: float = 1.0, **arrays: NDArray[Any]) -> bytes:
    """Two rows, and their sums."""
    file = io.BytesIO()
    answers = times * INPUTS.sum(axis=1, keepdims=True)
    np.savez(file, allow_pickle=True, **({"in_features": INPUTS, "out_0": answers} | arrays))
    return file.getvalue()


def preprocessing(**keys: Any) -> str:
    """Two columns as they are, and a regression."""
    parts = [{"kind": "plain", "name": name} for name in ("a", "b")]
    written = {"format": 1, "question": "regression", "target": "sum", "parts": parts, "classes": [], "output": "mean"}
    return json.dumps(written | keys)


@dataclass
class GraphWorld:
    """A home without models of its own, and the means to publish what a job would."""

    home: Home
    folder: Path

    def publish(
        self, name: str, graph: bytes | None, probed: bytes, prepared: str | None = None, *, promote: bool = True
    ) -> Version:
        """A new version of a model, which serves if it is promoted."""
        number = len(self.home.registry.versions(name)) + 1 if name in self.home.registry.models() else 1
        files = self.folder / f"{name}-{number}"
        files.mkdir()
        for file, data in (("model.onnx", graph), ("probe.npz", probed)):
            if data is not None:
                (files / file).write_bytes(data)
        (files / "preprocessing.json").write_text(preprocessing() if prepared is None else prepared)
        snapshot = Snapshot("sent: rows.csv", 0, Filter(), 40, "0" * 64, NOW, NOW)
        manifest = Manifest(name, "table", f"{name}-run-{number}", NOW, "code", snapshot, {}, {"model": name}, {})
        version = self.home.registry.publish(manifest, files, verdict())
        if promote:
            self.home.registry.promote(
                name, version.number, run=manifest.run, by="gate", reason="won", at=NOW, warning=None
            )
        return version


def make_graph_world(folder: Path) -> GraphWorld:
    """A home in `folder`."""
    config = folder / "springtide.toml"
    config.write_text(f'[home]\nstore = "{folder}/var"\ndatabase = "sqlite:///{folder}/var/springtide.db"\n')
    return GraphWorld(open_home(read_settings(config, environ={})), folder)
