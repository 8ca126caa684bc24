"""What a graph may be made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import StringStringEntryProto, TensorProto, helper
from tests import graph_world

from springtide.sdk import Refusal
from springtide.trainers.structure import check_structure

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

node = helper.make_node
ONE = np.array([1])


def tree(true: list[int], false: list[int], modes: str, *, places: list[int] | None = None) -> NodeProto:
    """A tree of branches (B) and leaves (L)."""
    count = len(modes)
    return node(
        "TreeEnsembleRegressor",
        ["features"],
        ["answer"],
        domain="ai.onnx.ml",
        nodes_treeids=[0] * count,
        nodes_nodeids=places or list(range(count)),
        nodes_modes=["LEAF" if mode == "L" else "BRANCH_LEQ" for mode in modes],
        nodes_truenodeids=true,
        nodes_falsenodeids=false,
    )


def functional() -> ModelProto:
    made = graph_world.model([node("Twice", ["features"], ["answer"], domain="own")])
    body = [node("Add", ["x", "x"], ["y"])]
    made.functions.append(helper.make_function("own", "Twice", ["x"], ["y"], body, [helper.make_opsetid("", 18)]))
    return made


def external() -> ModelProto:
    made = graph_world.model([node("Add", ["features", "secret"], ["answer"])], {"secret": np.ones(2, np.float32)})
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.append(StringStringEntryProto(key="location", value="../../etc/passwd"))
    return made


HOSTILE: dict[str, tuple[Any, str]] = {
    "rounds without end": (graph_world.looping(), "operator 'Loop'"),
    "an operator of another domain": (
        graph_world.model([node("Gelu", ["features"], ["answer"], domain="com.microsoft")]),
        "operator 'com.microsoft.Gelu'",
    ),
    "random numbers": (graph_world.model([node("RandomNormalLike", ["features"], ["answer"])]), "RandomNormalLike"),
    "as many values as are not zero": (graph_world.model([node("NonZero", ["features"], ["answer"])]), "NonZero"),
    "functions": (functional(), "functions"),
    "a file of the machine": (external(), "'secret' is in another file"),
    "a file of the machine as a constant": (
        graph_world.model([node("Constant", [], ["answer"], value=external().graph.initializer[0])]),
        "is in another file",
    ),
    "a size from a row": (
        graph_world.model(
            [
                node("Cast", ["features"], ["whole"], to=TensorProto.INT64),
                node("Reshape", ["whole", "flat"], ["sizes"]),
                node("ConstantOfShape", ["sizes"], ["answer"]),
            ],
            {"flat": np.array([-1])},
        ),
        "ConstantOfShape gives is as large as the values",
    ),
    "copies as a row says": (
        graph_world.model(
            [
                node("Cast", ["features"], ["whole"], to=TensorProto.INT64),
                node("Tile", ["features", "whole"], ["answer"]),
            ]
        ),
        "Tile gives is as large as the values",
    ),
    "a size by chance": (
        graph_world.model(
            [node("Dropout", ["sizes", "half", "yes"], ["some"]), node("Expand", ["features", "some"], ["answer"])],
            {"sizes": ONE, "half": np.float32(0.5), "yes": np.bool_(1)},
        ),
        "Expand gives is as large as the values",
    ),
    "a node before what it reads": (
        graph_world.model([node("Relu", ["later"], ["answer"]), node("Abs", ["features"], ["later"])]),
        "in no order",
    ),
    "one name twice": (
        graph_world.model([node("Abs", ["features"], ["one"]), node("Relu", ["features"], ["one"])], {"one": ONE}),
        "in no order",
    ),
    "a tree with a circle": (graph_world.model([tree([3, 1, 0, 0], [1, 2, 0, 0], "BBLL")]), "circles"),
    "a circle that no branch leads to": (graph_world.model([tree([0, 2, 1], [0, 2, 1], "LBB")]), "circles"),
    "a branch to nowhere": (graph_world.model([tree([7, 0], [1, 0], "BL")]), "gaps"),
    "a tree that is a line": (
        graph_world.model([tree([*range(1, 3000), 0], [*range(1, 3000), 0], "B" * 2999 + "L")]),
        "deeper",
    ),
    "lists of two lengths": (graph_world.model([tree([1, 0, 0], [1, 0], "BL")]), "trees"),
    "a long label": (
        graph_world.model(
            [node("LabelEncoder", ["features"], ["answer"], domain="ai.onnx.ml", values_strings=["x" * 10_000])]
        ),
        "a text of more than",
    ),
    "a long text as tensor": (
        graph_world.model([node("Identity", ["text"], ["answer"])], {"text": np.array(["x" * 10_000], dtype=object)}),
        "a text of more than",
    ),
    "another file in disguise": (b"\x08\x09\x12\x04ORTM", "file of ONNX Runtime"),
    "nonsense": (b"no graph", "cannot be read"),
}


@pytest.mark.parametrize(("made", "what"), HOSTILE.values(), ids=HOSTILE)
def test_what_may_not_end_or_may_grow_is_refused(made: ModelProto | bytes, what: str) -> None:
    data = made if isinstance(made, bytes) else made.SerializeToString()
    with pytest.raises(Refusal, match=what):
        check_structure(data, where="model.onnx")


HARMLESS = {
    "a layer": graph_world.summing(),
    "sizes from a shape": graph_world.model(
        [
            node("Shape", ["features"], ["shape"]),
            node("Gather", ["shape", "first"], ["rows"]),
            node("Concat", ["rows", "two"], ["sizes"], axis=0),
            node("Reshape", ["features", "sizes"], ["answer"]),
        ],
        {"first": np.array([0]), "two": np.array([2])},
    ),
    "a tree": graph_world.model([tree([1, 0, 0], [2, 0, 0], "BLL")]),
    "a tree in another order": graph_world.model([tree([0, 5, 0], [0, 3, 0], "LBL", places=[3, 9, 5])]),
    "branches with a common leaf": graph_world.model([tree([2, 2, 0, 0], [1, 3, 0, 0], "BBLL")]),
}


@pytest.mark.parametrize("made", HARMLESS.values(), ids=HARMLESS)
def test_layers_and_trees_pass(made: ModelProto | bytes) -> None:
    check_structure(made if isinstance(made, bytes) else made.SerializeToString(), where="model.onnx")
