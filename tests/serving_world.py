"""A small world to serve from: a real lake, a real registry, and a model whose graph is written by hand.

The graph answers ``close * (1 + drift + step * spread)``: with a drift of its own every version tells itself apart.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import polars as pl
from onnx import TensorProto, helper, numpy_helper

from springtide.app.home import Home, open_home, read_settings
from springtide.domain.model import Manifest
from springtide.domain.rows import Filter
from springtide.domain.verdict import Comparison, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from springtide.domain.model import JournalEntry, Version

SERIES = ("BTC/USDT", "ETH/USDT")
WINDOW, HORIZON, LEVELS = 24, 6, (0.05, 0.1, 0.5, 0.9, 0.95)
STEP_S = 3600
START = datetime(2024, 1, 1, tzinfo=UTC)
ROWS = 100  # of each series
LAST = START + timedelta(seconds=STEP_S * (ROWS - 1))
NOW = LAST + timedelta(seconds=STEP_S)

SIGNATURE: dict[str, Any] = {
    "kind": "candles",
    "series": list(SERIES),
    "step_s": STEP_S,
    "window": WINDOW,
    "horizon": HORIZON,
    "levels": list(LEVELS),
    "intervals": [80, 90],
    "inputs": ["candles", "market", "cutoff"],
    "values": "candles",
}

SETTINGS = """
[home]
store = "{folder}/var"
database = "sqlite:///{folder}/var/springtide.db"

[serve]
port = 0
poll_s = {poll_s}

[models.btc]
task = "forecast"
table = "candles"
series = ["BTC/USDT", "ETH/USDT"]
horizon = 6
window = 24
"""


def candles(count: int = ROWS, *, first: int = 0, series: Sequence[str] = SERIES) -> pl.DataFrame:
    """Hourly candles; series ``k`` closes at ``100 * (k + 1) + hour``."""
    hours = np.arange(first, first + count)
    frames = [
        pl.DataFrame(
            {
                "unique_id": [name] * count,
                "ds": [START + timedelta(hours=int(hour)) for hour in hours],
                **dict.fromkeys(("open", "high", "low", "close"), 100.0 * (place + 1) + hours),
                "volume": np.ones(count),
            },
            schema_overrides={"ds": pl.Datetime("us", "UTC")},
        )
        for place, name in enumerate(series)
    ]
    return pl.concat(frames)


def close(series: str, hour: int) -> float:
    """What `candles` gives as the close of that hour."""
    return 100.0 * (SERIES.index(series) + 1) + hour


def quantile(last_close: float, drift: float, step: int, level: int) -> float:
    """What the graph answers for the step (from 1) and the place of a level."""
    return last_close * (1 + drift + 0.01 * step * (level - len(LEVELS) // 2))


def graph(drift: float, *, window: int = WINDOW, outputs: Sequence[str] = ("quantiles",)) -> bytes:
    """An ONNX graph with the inputs and the outputs of an exported forecaster; the dissimilarity is a hundredth of the close."""
    steps, levels = np.arange(1, HORIZON + 1), np.arange(len(LEVELS)) - len(LEVELS) // 2
    factors = 1 + drift + 0.01 * steps[:, None] * levels
    constants = {
        "starts": np.array([window - 1, 3]),
        "ends": np.array([window, 4]),
        "axes": np.array([1, 2]),
        "factors": factors[None],
        "flat": np.array([-1]),
        "hundred": np.array([100.0]),
    }
    inputs = [
        helper.make_tensor_value_info("candles", TensorProto.DOUBLE, ["batch", window, 5]),
        helper.make_tensor_value_info("market", TensorProto.DOUBLE, ["batch", window]),
        helper.make_tensor_value_info("cutoff", TensorProto.INT64, ["batch"]),
    ]
    shapes: dict[str, list[str | int]] = {"quantiles": ["batch", HORIZON, len(LEVELS)], "dissimilarity": ["batch"]}
    forms = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, shapes[name]) for name in outputs]
    nodes = [
        helper.make_node("Slice", ["candles", "starts", "ends", "axes"], ["last"]),
        helper.make_node("Mul", ["last", "factors"], ["quantiles"]),
        helper.make_node("Reshape", ["last", "flat"], ["closes"]),
        helper.make_node("Div", ["closes", "hundred"], ["dissimilarity"]),
    ]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "small", inputs, forms, tensors),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()


def export(
    folder: Path,
    drift: float,
    *,
    wrong_probe: bool = False,
    window: int = WINDOW,
    outputs: Sequence[str] = ("quantiles",),
    doubt_threshold: float | None = None,
) -> Path:
    """The files of an exported model."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(graph(drift, window=window, outputs=outputs))
    doubt = {} if doubt_threshold is None else {"doubt_threshold": doubt_threshold}
    (folder / "signature.json").write_text(json.dumps(SIGNATURE | {"window": window} | doubt))
    random = np.random.default_rng(0)
    feeds: dict[str, Any] = {
        "candles": random.uniform(90, 110, (3, window, 5)),
        "market": random.uniform(0, 0.01, (3, window)),
        "cutoff": np.arange(3) * STEP_S,
    }
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    answers = [answer * (1.001 if wrong_probe else 1.0) for answer in session.run(None, feeds)]
    probe = {f"out_{place}": answer for place, answer in enumerate(answers)}
    np.savez(
        folder / "probe.npz", allow_pickle=False, **probe, **{f"in_{name}": value for name, value in feeds.items()}
    )
    return folder


def verdict(*, promote: bool = True, warning: str | None = None) -> Verdict:
    """A verdict as the gate gives it."""
    rivals = (Comparison("last-value", "baseline", 0.012, 0.16, 0.003, passed=promote),)
    reason = "beats every rival" if promote else "does not beat last-value"
    return Verdict(promote, reason, "significant", "pinball", 500, 0.01, rivals, warning)


@dataclass
class World:
    """A home with rows, and the means to publish and promote in it."""

    home: Home
    folder: Path
    config: Path

    def publish(
        self,
        drift: float,
        *,
        model: str = "btc",
        judged: Verdict | None = None,
        trained_until: datetime | None = None,
        **how: Any,
    ) -> Version:
        """A new version of a model."""
        run = f"run-{len(self.home.registry.versions(model)) + 1}-{model}"
        files = export(self.folder / "exports" / run, drift, **how)
        snapshot = self.home.lake.table("candles").snapshot(Filter(series=SERIES))
        signature = json.loads((files / "signature.json").read_text())
        metrics = {"pinball": 0.01}
        manifest = Manifest(
            model, "forecast", run, NOW, "code", snapshot, {}, signature, metrics, trained_until=trained_until
        )
        return self.home.registry.publish(manifest, files, judged or verdict())

    def promote(self, version: Version) -> JournalEntry:
        """Make a version the champion, as a run does."""
        run, judged = version.manifest.run, version.verdict
        return self.home.registry.promote(
            version.model,
            version.number,
            run=run,
            by="run",
            reason=judged.reason,
            at=NOW,
            warning=judged.warning,
        )

    def blob(self, version: Version, name: str) -> Path:
        """Where the bytes of a file of a version lie."""
        return next((self.folder / "var" / "models").rglob(version.manifest.files[name]))


def make_world(folder: Path, *, poll_s: float = 0.05, expires: str = "") -> World:
    """A home in `folder` with a hundred hours of two series, and no version yet; `expires` holds limits of age as TOML."""
    config = folder / "springtide.toml"
    config.write_text(
        SETTINGS.format(folder=folder, poll_s=poll_s)
        + f'[models.btc.gate]\njudge = "1d"\n[models.btc.expires]\n{expires}\n'
    )
    home = open_home(read_settings(config, environ={}))
    home.lake.open("candles", step_s=STEP_S).write(candles())
    return World(home, folder, config)
