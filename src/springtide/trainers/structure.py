"""What a graph is made of, looked at before it is opened: how large a tensor gets may depend on the number of rows alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto

from springtide.sdk import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

__all__ = ["check_structure"]

# Sources of both: https://onnx.ai/onnx/operators/ and https://onnx.ai/onnx/operators/#ai-onnx-ml. What is not here is
# refused: control flow, sequences, random numbers, text, and what gives as many values as it finds (NonZero, Unique).
_OPERATORS = frozenset(
    """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization BitShift Cast CastLike Ceil
    Celu Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace Div Dropout Einsum Elu Equal
    Erf Exp Expand Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool
    Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish Hardmax Identity InstanceNormalization IsInf IsNaN LRN
    LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul Max MaxPool Mean
    MeanVarianceNormalization Min Mish Mod Mul Neg Not OneHot Or PRelu Pad Pow RMSNormalization RNN Range Reciprocal
    ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
    Relu Reshape Resize Round ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax
    Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu
    Unsqueeze Where Xor
    """.split()  # noqa: SIM905 - a hundred words in quotes are no easier to read
)
_TREES = ("TreeEnsembleClassifier", "TreeEnsembleRegressor")
_ML_OPERATORS = frozenset(
    """
    ArrayFeatureExtractor Binarizer FeatureVectorizer Imputer LabelEncoder LinearClassifier LinearRegressor Normalizer
    OneHotEncoder SVMClassifier SVMRegressor Scaler
    """.split()  # noqa: SIM905 - as above
).union(_TREES)
_KNOWN = {"": _OPERATORS, "ai.onnx": _OPERATORS, "ai.onnx.ml": _ML_OPERATORS}

# From which input on an operator reads sizes; these may come from constants and shapes, never from what rows hold.
_SIZES_FROM = {
    **dict.fromkeys(("ConstantOfShape", "Range"), 0),
    **dict.fromkeys(("Expand", "OneHot", "Pad", "Reshape", "Resize", "Slice", "Split", "Squeeze", "Tile", "TopK"), 1),
    **dict.fromkeys(("Unsqueeze", *(name for name in _OPERATORS if name.startswith("Reduce"))), 1),
}
_SHAPES = ("Shape", "Size")  # what they give depends on no value
_GRAPHS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)
_TENSORS = (AttributeProto.TENSOR, AttributeProto.TENSORS)
_NUMBERS = (
    AttributeProto.INT,
    AttributeProto.INTS,
    AttributeProto.FLOAT,
    AttributeProto.FLOATS,
    AttributeProto.STRING,
    AttributeProto.STRINGS,
)
_MOST_TEXT = 1000  # bytes of a label: a long one would be copied for each row
_DEEPEST = 2000  # steps from the root of a tree


def check_structure(data: bytes, *, where: str) -> None:
    """Refuse a graph that might run for ever, read other files, or grow with the values that it is given.

    A graph that passes does the same steps on tensors of the same shapes whatever its rows hold: what it costs is
    known once it has run on as many rows.

    Parameters
    ----------
    data : bytes
        An ONNX file.
    where : str
        Its name, for the refusal.

    Raises
    ------
    Refusal
        If it is no ONNX, or holds functions, graphs inside of graphs, operators that are not known to be bounded,
        sizes that come from values, tensors in other files, or trees that are none.
    """
    if data[4:8] == b"ORTM":  # ONNX Runtime would read the same bytes as a file of its own
        raise _refused("it is a file of ONNX Runtime", where)
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # the errors of protobuf have no common base
        raise _refused(f"it cannot be read as ONNX: {error!s:.200}", where) from error
    graph = model.graph
    if model.functions or model.training_info or graph.sparse_initializer:
        raise _refused("it holds functions, steps of a training or sparse tensors", where)
    for node in graph.node:
        if node.op_type not in _KNOWN.get(node.domain, ()):
            raise _refused(f"it has the operator {f'{node.domain}.{node.op_type}'.lstrip('.')!r:.100}", where)
        _check_attributes(node, where)
    _check_tensors(graph.initializer, where)
    _check_sizes(graph, where)


def _check_attributes(node: onnx.NodeProto, where: str) -> None:
    for attribute in node.attribute:
        if attribute.ref_attr_name or attribute.type not in (*_NUMBERS, *_TENSORS):
            inner = "a graph" if attribute.type in _GRAPHS else "no number, text or tensor"
            raise _refused(f"{attribute.name!r:.100} of {node.op_type} is {inner}", where)
        if any(len(text) > _MOST_TEXT for text in (attribute.s, *attribute.strings)):
            raise _refused(
                f"{attribute.name!r:.100} of {node.op_type} is a text of more than {_MOST_TEXT} bytes", where
            )
        _check_tensors((attribute.t, *attribute.tensors), where)
    if node.op_type in _TREES and not _are_trees(node):
        raise _refused(f"the trees of {node.op_type} have circles, gaps, or are deeper than {_DEEPEST}", where)


def _check_tensors(tensors: Iterable[TensorProto], where: str) -> None:
    for tensor in tensors:
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise _refused(f"the tensor {tensor.name!r:.100} is in another file", where)
        if any(len(text) > _MOST_TEXT for text in tensor.string_data):
            raise _refused(f"the tensor {tensor.name!r:.100} holds a text of more than {_MOST_TEXT} bytes", where)


def _check_sizes(graph: onnx.GraphProto, where: str) -> None:
    """Go along the nodes, and remember what depends on no value of a row."""
    settled = {"", *(tensor.name for tensor in graph.initializer)}
    known = settled | {value.name for value in graph.input}
    for node in graph.node:
        if not known.issuperset(node.input) or not known.isdisjoint(filter(None, node.output)):
            raise _refused(f"its nodes are in no order: {node.op_type} {node.name!r:.100}", where)
        sizes = node.input[_SIZES_FROM.get(node.op_type, len(node.input)) :]
        if not settled.issuperset(sizes):
            raise _refused(f"what {node.op_type} gives is as large as the values of the rows say", where)
        known.update(node.output)
        if node.op_type in _SHAPES or (settled.issuperset(node.input) and node.op_type != "Dropout"):
            settled.update(node.output)  # Dropout gives what it likes


def _are_trees(node: onnx.NodeProto) -> bool:
    """Whether every branch ends, and soon: ONNX Runtime follows a circle for ever.

    Branches may share what is below them: sets of categories are written so.
    """
    lists = {attribute.name: attribute for attribute in node.attribute}
    try:
        trees, places, true, false = (
            np.array(lists[f"nodes_{name}"].ints, np.int64)
            for name in ("treeids", "nodeids", "truenodeids", "falsenodeids")
        )
        leaf = np.array([mode == b"LEAF" for mode in lists["nodes_modes"].strings])
        children = _children(trees, places, np.stack([true, false], axis=1))
    except (KeyError, ValueError):  # lists that are not there, or not of one length
        return False
    if leaf.shape != places.shape or (children[~leaf] < 0).any():
        return False
    children[leaf] = -1
    return sum(len(level) for level in _levels(children)) == len(children)


def _children(trees: NDArray[np.int64], places: NDArray[np.int64], below: NDArray[np.int64]) -> NDArray[np.int64]:
    """At which indices the nodes (n, 2) `below` each node stand; -1 where there is none of that name."""
    rank = np.unique(trees, return_inverse=True)[1].astype(np.int64)
    names, dense = np.unique(np.concatenate([places, below.ravel()]), return_inverse=True)
    keys = rank * len(names) + dense[: len(places)]
    wanted = rank[:, None] * len(names) + dense[len(places) :].reshape(below.shape)
    order = np.argsort(keys)
    found = order[np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)]
    return np.where(keys[found] == wanted, found, -1)


def _levels(children: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield nodes all of whose parents were there before; those of a circle never come."""
    parents = np.bincount(children[children >= 0], minlength=len(children))
    level = np.flatnonzero(parents == 0)
    for _ in range(_DEEPEST):
        if not len(level):
            return
        yield level
        below = children[level]
        below = below[below >= 0]
        np.subtract.at(parents, below, 1)
        below = np.unique(below)
        level = below[parents[below] == 0]


def _refused(what: str, where: str) -> Refusal:
    return Refusal(
        f"the graph is not served: {what}", where=where, do="serve the model in its own format, or export plain layers"
    )
