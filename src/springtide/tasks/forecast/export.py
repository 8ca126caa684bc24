"""From a trained network to files that serve without it: ONNX, weights to start from, a probe."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime
import torch
from safetensors.torch import load_file, save_file

from springtide.domain.errors import Conflict, ModelRefused
from springtide.evaluation.parity import TOLERANCE, relative_difference
from springtide.tasks.forecast.answers import Answers
from springtide.tasks.forecast.features.spec import FeatureSpec
from springtide.tasks.forecast.networks.forecaster import build_forecaster
from springtide.tasks.forecast.training import Fitted, WindowTensors
from springtide.tasks.seam import Exported

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from springtide.tasks.forecast.graphs import GraphCache
    from springtide.tasks.forecast.items import Windows
    from springtide.tasks.forecast.networks.forecaster import Forecaster
    from springtide.tasks.forecast.networks.layout import Layout

__all__ = ["ExportedForecaster", "export_forecaster", "load_exported", "load_network"]

GRAPH, WEIGHTS, SIGNATURE, PROBE = "model.onnx", "weights.safetensors", "signature.json", "probe.npz"
CHECKED, PROBED = 512, 8  # real windows compared at export, and kept as the probe
CHUNK = 1024


def export_forecaster(fitted: Fitted, windows: Windows, folder: Path, *, graphs: GraphCache | None = None) -> Exported:
    """Write the graph, check it against the network on real windows, and keep some of them as the probe.

    Where a graph of this layout is known (the champion's, or one in `graphs`), the weights are put into it, which takes
    milliseconds where an export takes seconds. The check is the same; where it fails, the graph is exported anew.

    Raises
    ------
    ModelRefused
        If the network's answers are no finite numbers, or the exported graph does not give them.
    """
    network = fitted.network.cpu()
    signature = _signature(fitted, windows)
    items = windows.judging[:: max(1, len(windows.judging) // CHECKED)][:CHECKED]
    inputs = WindowTensors.of(windows, torch.device("cpu")).inputs(torch.from_numpy(items))
    feeds = dict(zip(signature["inputs"], (tensor.numpy() for tensor in inputs), strict=True))
    with torch.inference_mode():
        expected = [answer.numpy() for answer in network(*inputs)]
    _check_finite(expected, windows, items)
    path = folder / GRAPH
    known = fitted.graph or (graphs.find(fitted.layout) if graphs else None)
    made = "known, with new weights"
    answers = _reuse(known, network, path, feeds=feeds, expected=expected) if known is not None else None
    if answers is None:
        _export_graph(network, inputs, signature, path)
        made = "exported"
        if graphs is not None and (problem := graphs.keep(fitted.layout, path)):
            made = f"exported, not kept for the next run: {problem}"
        answers = _session(path).run(None, feeds)
    parity = _difference(answers, expected)
    if not parity <= TOLERANCE:
        raise ModelRefused(
            f"the exported graph differs from the trained network by {parity:.1e}, relative, on {len(items)} real windows",
            where=str(path),
            do="keep the champion; report the network and the versions of torch, onnx and onnxruntime",
        )
    save_file(network.state_dict(), folder / WEIGHTS)
    (folder / SIGNATURE).write_bytes(msgspec.json.encode(signature))
    probe = {f"in_{name}": value[:PROBED] for name, value in feeds.items()}
    probe |= {f"out_{place}": answer[:PROBED] for place, answer in enumerate(answers)}
    np.savez(folder / PROBE, allow_pickle=False, **probe)
    return Exported(
        files=(GRAPH, WEIGHTS, SIGNATURE, PROBE),
        signature=signature,
        parity=parity,
        facts={"graph": made, "checked_windows": len(items)},
    )


class ExportedForecaster:
    """An exported model as a rival: asked for the same items, it cuts windows of its own length."""

    def __init__(self, folder: Path) -> None:
        self.signature = _read_signature(folder)
        self.session = _session(folder / GRAPH, threads=0)

    def __call__(self, windows: Windows, items: NDArray[np.int64]) -> NDArray[np.float64]:
        """Quantiles (n, horizon, levels) in the unit of the target."""
        return self.answer(windows, items).quantiles

    def answer(self, windows: Windows, items: NDArray[np.int64]) -> Answers:
        """Quantiles, and which items are far from what it was trained on; models of old have no doubts."""
        self._check_question(windows, items)
        tensors = WindowTensors.of(self._as_it_sees(windows), torch.device("cpu"))
        parts = []
        for at in range(0, len(items), CHUNK):
            inputs = tensors.inputs(torch.from_numpy(items[at : at + CHUNK]))
            feeds = dict(zip(self.signature["inputs"], (tensor.numpy() for tensor in inputs), strict=True))
            parts.append(self.session.run(None, feeds))
        quantiles, *dissimilarity = (np.concatenate(answers) for answers in zip(*parts, strict=True))
        far = dissimilarity[0] > self.signature["doubt_threshold"] if dissimilarity else np.zeros(len(items), np.bool_)
        return Answers(quantiles, far)

    def _as_it_sees(self, windows: Windows) -> Windows:
        """The same items with the window and the features of this model."""
        recipe, features = windows.recipe, windows.features
        spec = FeatureSpec.model_validate(self.signature.get("features", {}))
        if spec != recipe.features:
            features = windows.surroundings.features(spec, windows.panel)
        mine = recipe.model_copy(update={"window": self.signature["window"]})
        return replace(windows, recipe=mine, features=features)

    def _check_question(self, windows: Windows, items: NDArray[np.int64]) -> None:
        """Refuse items that this model was not made for, or that have less history than it sees."""
        recipe, panel = windows.recipe, windows.panel
        history = items - panel.bounds[panel.owner[items]] + 1
        asked = {"kind": panel.kind, "step_s": panel.step_s, "horizon": recipe.horizon, "levels": list(recipe.levels)}
        answered = {name: self.signature[name] for name in asked}
        if asked != answered or self.signature["window"] > int(history.min(initial=self.signature["window"])):
            raise Conflict(
                f"the champion answers another question: {answered | {'window': self.signature['window']}}",
                where=f"this run asks {asked | {'window': recipe.window}}",
                do="give the changed model a new name, or restore the settings",
            )


def load_exported(folder: Path) -> ExportedForecaster:
    """Open an exported model."""
    return ExportedForecaster(folder)


def load_network(folder: Path, wanted: Layout) -> tuple[Forecaster, Layout, Path] | None:
    """The network that fine-tuning starts from, and its graph; None when it has another layout or other parts.

    The decay of the volatility is part of the champion's weights and stays. Weights are tensors only, never code.
    """
    stored = dict(_read_signature(folder)["layout"])
    layout = replace(wanted, decay=float(stored.get("decay", wanted.decay)))
    if msgspec.json.decode(msgspec.json.encode(layout)) != stored:
        return None
    network = build_forecaster(layout)
    weights = load_file(folder / WEIGHTS)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    if shapes != {name: tensor.shape for name, tensor in weights.items()}:
        return None
    network.load_state_dict(weights)
    return network, layout, folder / GRAPH


def _check_finite(answers: Sequence[NDArray[Any]], windows: Windows, items: NDArray[np.int64]) -> None:
    """Refuse a network whose answers to (n,) items are no finite numbers: no graph could be compared with them."""
    finite = np.all([np.isfinite(answer).reshape(len(items), -1).all(axis=1) for answer in answers], axis=0)
    if finite.all():
        return
    panel, first = windows.panel, items[~finite][0]
    cutoff = datetime.fromtimestamp(int(panel.seconds[first]), tz=UTC)
    raise ModelRefused(
        f"the trained network's answers are no finite numbers on {int((~finite).sum())} of {len(items)} real windows",
        where=f"first {panel.series[panel.owner[first]]} at {cutoff:%Y-%m-%d %H:%M} UTC",
        do="keep the champion; look for prices that stand still or leap in the window before that time, and at the "
        'losses of the training; start = "scratch" begins anew',
    )


def _signature(fitted: Fitted, windows: Windows) -> dict[str, Any]:
    """Plain JSON: all that the codec and a later fine-tuning need."""
    layout = fitted.layout
    return {
        "kind": layout.kind,
        "series": list(windows.panel.series),
        "step_s": windows.panel.step_s,
        "window": layout.window,
        "horizon": layout.horizon,
        "levels": list(layout.levels),
        "intervals": list(windows.recipe.intervals),
        "inputs": list(layout.inputs),
        "values": layout.inputs[0],
        "features": windows.recipe.features.model_dump(mode="json", exclude_defaults=True),
        "usually_known": _usually_known(windows),
        "output": "quantiles (batch, horizon, levels), in the unit of the target",
        "doubt_threshold": fitted.network.doubt.threshold,
        "layout": layout.facts(),
    }


def _usually_known(windows: Windows) -> list[str]:
    """The features that were known at more than half of the training items."""
    known = np.isfinite(windows.features.values[windows.train]).mean(axis=0)
    return [name for name, share in zip(windows.features.names, known, strict=True) if share > 0.5]


def _read_signature(folder: Path) -> dict[str, Any]:
    signature: dict[str, Any] = msgspec.json.decode((folder / SIGNATURE).read_bytes())
    return signature


def _export_graph(network: Forecaster, inputs: tuple[torch.Tensor, ...], signature: dict[str, Any], path: Path) -> None:
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings(), _quiet("torch.onnx"):
        # torch's exporter warns about its own internals; parity on real windows is what counts
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            tuple(tensor[:2] for tensor in inputs),
            path,
            dynamo=True,
            external_data=False,
            input_names=signature["inputs"],
            output_names=["quantiles", "dissimilarity"],
            dynamic_shapes=(tuple({0: batch} for _ in inputs),),  # forward takes them as *inputs
            optimize=False,  # keeps every weight under its own name, for `_fill_graph`; ONNX Runtime optimises anyway
            verbose=False,
        )
    onnx.save(_without_traces(onnx.load(path)), path)


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without the lines and folders of the code that made each node: the same weights give the same bytes anywhere."""
    for node in model.graph.node:
        node.ClearField("metadata_props")
    return model


def _reuse(
    graph: Path,
    network: Forecaster,
    path: Path,
    *,
    feeds: dict[str, NDArray[Any]],
    expected: Sequence[NDArray[Any]],
) -> list[NDArray[Any]] | None:
    """The answers of `graph` with the weights of `network`, written to `path`; None where they are not the network's."""
    try:
        if not _fill_graph(graph, network, path):
            return None
        answers: list[NDArray[Any]] = _session(path).run(None, feeds)
        return answers if _difference(answers, expected) <= TOLERANCE else None
    except Exception:  # noqa: BLE001 - a damaged graph may fail in any way, and a new export mends them all
        return None


def _fill_graph(graph: Path, network: Forecaster, path: Path) -> bool:
    """Write `graph` with the weights of `network` to `path`; False where it has no place for a weight."""
    model = onnx.load(graph)
    places = {initializer.name: initializer for initializer in model.graph.initializer}
    for name, weights in network.state_dict().items():
        tensor = onnx.numpy_helper.from_array(weights.numpy(), name)
        if not weights.numel():
            continue  # a network without features scales none
        place = places.get(name)
        if place is None or (place.dims, place.data_type) != (tensor.dims, tensor.data_type):
            return False
        place.CopyFrom(tensor)
    onnx.save(_without_traces(model), path)
    return True


def _difference(given: Sequence[NDArray[Any]], expected: Sequence[NDArray[Any]]) -> float:
    """The largest relative difference in any answer."""
    return max(relative_difference(one, other) for one, other in zip(given, expected, strict=True))


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Let only errors of a logger through: the exporter reports every optional package it does not find."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _session(path: Path, *, threads: int = 1) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leave the cores to others while waiting
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
