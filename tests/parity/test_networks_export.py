"""Every network with every kind of series becomes a file that says what it says, for any number of windows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest
import torch
from tests.synthetic import candles, seasonal, silent, windows

from springtide.tasks.forecast.export import load_network
from springtide.tasks.forecast.task import ForecastTask
from springtide.tasks.forecast.training import WindowTensors
from springtide.tasks.seam import Budget

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TASK = ForecastTask()
KINDS = {
    "candles": (candles, {}),
    "seasonal": (seasonal, {"window": 50}),
    "ratios": (lambda: seasonal().with_columns(y=seasonal()["y"].exp()), {"window": 50, "logarithmic": True}),
}
CASES = [(network, "candles") for network in ("nhits", "nlinear", "patch")]  # the others: test_forecast_export.py
CASES += [(network, "seasonal") for network in ("lstm", "mixer", "nhits", "nlinear")]
CASES += [("patch", "ratios")]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Far faster for small networks where other processes want the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("network", "kind"), CASES, ids=lambda name: name)
def test_the_exported_file_gives_the_answers_of_the_network(network: str, kind: str, tmp_path: Path) -> None:
    rows, changes = KINDS[kind]
    items = windows(rows(), network=network, max_steps=0, **changes)
    fitted = TASK.fit(items, start=None, budget=Budget(60, device="cpu"), progress=silent)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weights in fitted.network.parameters():
            weights.add_(0.003 * torch.randn(weights.shape, generator=generator))
    exported = TASK.export(fitted, items, tmp_path)
    assert exported.parity <= 1e-5

    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for size in (1, 7):
        some = items.judging[:size]
        inputs = WindowTensors.of(items, torch.device("cpu")).inputs(torch.from_numpy(some))
        feeds = {name: tensor.numpy() for name, tensor in zip(exported.signature["inputs"], inputs, strict=True)}
        expected = fitted(items, some)
        spread = float(np.median(expected[:, :, -1] - expected[:, :, 0]))
        assert session.run(None, feeds)[0] == pytest.approx(expected, abs=1e-3 * spread)

    loaded = load_network(tmp_path, fitted.layout)
    assert loaded is not None
    assert all(
        torch.equal(loaded[0].state_dict()[name], weights) for name, weights in fitted.network.state_dict().items()
    )
