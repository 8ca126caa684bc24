"""An exported graph, ready to run: ONNX Runtime on one thread, and the check that it still gives its own answers."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as failures

from springtide.domain.errors import BadRows, ModelRefused
from springtide.evaluation.parity import TOLERANCE, relative_difference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["Probe", "Session", "TensorForm", "check_answers", "read_probe"]

_FATAL = 4  # ONNX Runtime's log level: what fails is raised, and need not be printed as well
_DO = "restore the file from a backup, roll back to another version, or retrain"

# What ONNX Runtime raises; its classes have no common base of their own.
_FAILURES = (
    failures.EPFail,
    failures.EngineError,
    failures.Fail,
    failures.InvalidArgument,
    failures.InvalidGraph,
    failures.InvalidProtobuf,
    failures.NoModel,
    failures.NoSuchFile,
    failures.NotImplemented,
    failures.RuntimeException,
    RuntimeError,
    ValueError,
)

_DTYPES: Mapping[str, type[np.generic]] = {
    "tensor(double)": np.float64,
    "tensor(float)": np.float32,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}


@dataclass(frozen=True, slots=True)
class TensorForm:
    """One input or output of a graph; a free dimension is None."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Probe:
    """Inputs, and the answers that the model gave to them when it was exported."""

    inputs: Mapping[str, NDArray[Any]]
    answers: Sequence[NDArray[Any]]


class Session:
    """A graph that runs on one thread of the caller; any number of callers may share it.

    Raises
    ------
    ModelRefused
        If the bytes are not a graph that ONNX Runtime can run. `where` names the file in the message.
    """

    def __init__(self, graph: bytes, *, where: str) -> None:
        self.where = where
        try:
            self._session = onnxruntime.InferenceSession(graph, _options(), providers=["CPUExecutionProvider"])
        except _FAILURES as error:
            raise ModelRefused(f"the graph cannot be opened: {_first_line(error)}", where=where, do=_DO) from error
        self.inputs = tuple(_form(node, where) for node in self._session.get_inputs())
        self.outputs = tuple(_form(node, where) for node in self._session.get_outputs())

    def run(
        self, feeds: Mapping[str, NDArray[Any]], *, options: onnxruntime.RunOptions | None = None
    ) -> list[NDArray[Any]]:
        """All outputs for these inputs; raises `BadRows` when they do not fit the graph, or `options` ended the run."""
        self.check_feeds(feeds)
        try:
            answers: list[NDArray[Any]] = self._session.run(None, dict(feeds), options)
        except _FAILURES as error:
            raise BadRows(
                f"the graph cannot run on these inputs: {_first_line(error)}",
                where=self.where,
                do="send tensors of the shapes that the model's metadata lists",
            ) from error
        return answers

    def check_feeds(self, feeds: Mapping[str, NDArray[Any]]) -> None:
        """Raise `BadRows` when these inputs do not fit the graph."""
        wanted = {form.name: form for form in self.inputs}
        if feeds.keys() != wanted.keys():
            self._refuse(f"inputs {sorted(feeds)} were given", f"send exactly {', '.join(wanted)}")
        for name, form in wanted.items():
            given = feeds[name]
            if given.dtype != form.dtype:
                self._refuse(f"input {name!r} is {given.dtype}", f"send {form.dtype}")
            fits = len(given.shape) == len(form.shape) and all(
                free is None or have == free for have, free in zip(given.shape, form.shape, strict=True)
            )
            if not fits:
                shape = ", ".join("any" if size is None else str(size) for size in form.shape)
                self._refuse(f"input {name!r} has the shape {list(given.shape)}", f"send the shape [{shape}]")

    def _refuse(self, what: str, do: str) -> NoReturn:
        raise BadRows(what, where=self.where, do=do)


def read_probe(data: bytes, *, where: str) -> Probe:
    """Read ``probe.npz``: arrays ``in_<name>`` and ``out_<place>``; never a pickle."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            inputs = {name.removeprefix("in_"): arrays[name] for name in arrays.files if name.startswith("in_")}
            outputs = [name for name in arrays.files if name.startswith("out_")]
            answers = [arrays[f"out_{place}"] for place in range(len(outputs))]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ModelRefused(f"the probe cannot be read: {_first_line(error)}", where=where, do=_DO) from error
    if not inputs or not answers:
        raise ModelRefused("the probe holds no inputs or no answers", where=where, do=_DO)
    return Probe(inputs, answers)


def check_answers(given: Sequence[NDArray[Any]], probe: Probe, *, where: str) -> None:
    """Compare what a model answers to its probe with what it answered when it was exported.

    Parameters
    ----------
    given : sequence of (..., ) arrays
        The model's answers to ``probe.inputs``.
    probe : Probe
        With the stored answers.
    where : str
        The version, for the error.

    Raises
    ------
    ModelRefused
        If an answer is not finite, has another shape, or differs by more than 1e-5, relative to the stored item.

    Examples
    --------
    >>> probe = Probe({}, [np.array([100.0, 200.0])])
    >>> check_answers([np.array([100.0, 200.0001])], probe, where="btc@3")
    >>> check_answers([np.array([100.0, 201.0])], probe, where="btc@3")
    Traceback (most recent call last):
        ...
    springtide.domain.errors.ModelRefused: the model does not give its own answers: they differ by 5.0e-03, relative
      where: btc@3
      do: keep the version that serves; retrain, or restore the model's files from a backup
    """
    shapes = [array.shape for array in given], [array.shape for array in probe.answers]
    if shapes[0] != shapes[1]:
        problem = f"their shapes are {shapes[0]}, and were {shapes[1]}"
    elif not all(np.isfinite(array).all() for array in given):
        problem = "some are not finite numbers"
    else:
        worst = max(relative_difference(new, old) for new, old in zip(given, probe.answers, strict=True))
        if worst <= TOLERANCE:
            return
        problem = f"they differ by {worst:.1e}, relative"
    raise ModelRefused(
        f"the model does not give its own answers: {problem}",
        where=where,
        do="keep the version that serves; retrain, or restore the model's files from a backup",
    )


def _options() -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # a large request must not keep its memory for ever
    options.log_severity_level = _FATAL
    return options


def _form(node: Any, where: str) -> TensorForm:
    if node.type not in _DTYPES:
        raise ModelRefused(
            f"{node.name!r} is {node.type}, which cannot be served", where=where, do=f"export {', '.join(_DTYPES)}"
        )
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return TensorForm(node.name, np.dtype(_DTYPES[node.type]), shape)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
