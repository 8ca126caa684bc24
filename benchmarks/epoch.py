"""An epoch of training beside neuralforecast: ``python benchmarks/epoch.py [--cases nlinear nhits] [--rounds 3]``.

Both train the same architecture on the same windows of the M4 competition's 414 hourly series: 168 hours in, the
next 48 at seven quantile levels out, in the same batches, with the pinball loss and the same learning rate. An epoch is
so many windows drawn, 163,840 when not told otherwise: here at random from all windows of the training part, there, as
the library does it, at each step from the windows of 32 series. (What the library calls an epoch is one pass over the
series, 13 steps.) Layers of different libraries are never equal to the last weight: both counts of parameters are
printed.

Times are those of the training loop alone, preparation excluded, in CPU seconds of one thread, which other programs
on the machine disturb less than seconds on the wall. Here they include the looks at the validation items; there no
validation is asked for. ``bare`` is the floor: the matrix products of one step's forward and backward pass, recorded,
then repeated on their own. Losses are the mean pinball loss of windows after the training part that neither has seen,
in units of each series' seasonal naive error. Rounds alternate between the three; figures are medians.

The peer is installed once, in an environment of its own. Takes the data from ``$SPRINGTIDE_DATA/forecast``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from springtide.tasks.forecast.baselines.seasonal import fit_seasonal_quantiles
from springtide.tasks.forecast.items import split
from springtide.tasks.forecast.networks.forecaster import Forecaster, build_forecaster
from springtide.tasks.forecast.networks.layout import Layout
from springtide.tasks.forecast.networks.nhits import NHits
from springtide.tasks.forecast.networks.patch import PatchTransformer
from springtide.tasks.forecast.networks.seasonal import SeasonalHead
from springtide.tasks.forecast.recipe import ForecastRecipe
from springtide.tasks.forecast.scoring import score
from springtide.tasks.forecast.training import WindowTensors, learn_what_is_usual, train
from springtide.tasks.seam import Budget

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from springtide.tasks.forecast.items import Windows

DATA = Path(os.environ.get("SPRINGTIDE_DATA", Path(__file__).parent.parent.parent / "shared" / "data")) / "forecast"
PEER = Path(__file__).with_name("epoch_peer.py")
PINS = ("neuralforecast==3.3.0", "torch==2.13.0")
HOUR, END = timedelta(hours=1), datetime(2024, 1, 1, tzinfo=UTC)  # the series have no dates: all end here
WINDOW, HORIZON, SEASON = 168, 48, 24
PRODUCTS = (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm, torch.ops.aten.baddbmm)
REPEATS = 10  # steps' worth of bare products
EPOCH = 163_840  # windows


@dataclass(frozen=True, slots=True)
class Case:
    """One architecture, here and there."""

    network: str
    model: str
    sizes: Mapping[str, Any]  # of the peer's model, where its defaults are not ours
    reshape: Callable[[Forecaster, Layout, Tensor], None] | None = None  # ours, to the peer's defaults


@dataclass(slots=True)
class Measured:
    """What the rounds of one case gave."""

    ours: list[Mapping[str, float]] = field(default_factory=list)
    peer: list[Mapping[str, float]] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)


def deepen(network: Forecaster, _layout: Layout, _table: Tensor) -> None:
    """Give the blocks of NHITS the peer's default layers: one without activation, then three with it."""
    body = network.body
    assert isinstance(body, NHits)
    width = body.forecasts[0].in_features
    for place, block in enumerate(body.blocks):
        layers: list[nn.Module] = [nn.Linear(block[0].in_features, width)]
        for _ in range(3):
            layers += [nn.Linear(width, width), nn.ReLU()]
        body.blocks[place] = nn.Sequential(*layers)


def widen(network: Forecaster, layout: Layout, table: Tensor) -> None:
    """Give the transformer the peer's default sizes."""
    observation = network.observation
    network.body = PatchTransformer(
        observation.channels, observation.facts, observation.length, width=128, heads=16, layers=3
    )
    network.head = SeasonalHead(layout, network.body, table)


SMALL = {"encoder_layers": 2, "n_heads": 4, "hidden_size": 64, "linear_hidden_size": 128}
NO_DROPOUT = {"dropout": 0.0, "fc_dropout": 0.0}  # ours has none
CASES = {
    "nlinear": Case("nlinear", "NLinear", {}),
    "nhits": Case("nhits", "NHITS", {"mlp_units": [[512, 512]]}),
    "nhits, peer's sizes": Case("nhits", "NHITS", {}, deepen),
    "patch": Case("patch", "PatchTST", SMALL | NO_DROPOUT),
    "patch, peer's sizes": Case("patch", "PatchTST", NO_DROPOUT, widen),
}


def main() -> None:
    """Play the rounds of each case and print its row."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--windows", type=int, default=EPOCH, help="windows drawn; times are told for a whole epoch")
    asked.add_argument("--batch", type=int, default=1024, help="windows of one step")
    asked.add_argument("--series", type=int, default=414, help="series from whose windows the peer draws at each step")
    asked.add_argument("--threads", type=int, default=1)
    asked.add_argument("--peers", type=Path, default=Path.home() / ".cache" / "springtide" / "peers")
    options = asked.parse_args()
    torch.set_num_threads(options.threads)
    install_peer(options.peers)

    rows = read_rows()
    for name in options.cases:
        measured, case = Measured(), CASES[name]
        recipe = ForecastRecipe(
            horizon=HORIZON,
            window=WINDOW,
            network=case.network,
            validation=2 * SEASON * HOUR,
            stride=SEASON // 2,
            learning_rate=1e-3,
            batch=options.batch,
            max_steps=options.windows // options.batch,
            patience=options.windows,  # the whole epoch
        )
        for seed in range(options.rounds):
            began = time.process_time()
            windows = split(rows.lazy(), recipe, judged_from=END - 2 * HORIZON * HOUR)
            network, layout = fresh_network(windows, case, seed=seed)
            prepared = time.process_time() - began
            if seed == 0:
                print(
                    f"\n{name}: {len(windows.train)} windows to train on, {len(windows.judging)} to judge", flush=True
                )
            measured.bare.append(bare_seconds(windows, network))
            measured.ours.append({**train_ours(windows, network, layout, seed=seed), "prepared_s": prepared})
            measured.peer.append(train_peer(windows, case, options, seed=seed))
        print_row(measured)


def install_peer(folder: Path) -> None:
    """Make the peer's environment the first time."""
    python, stamp = folder / "bin" / "python", folder / "pins.txt"
    if not stamp.exists() or stamp.read_text() != "\n".join(PINS):
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", *PINS], check=True)
        stamp.write_text("\n".join(PINS))


def read_rows() -> pl.DataFrame:
    """The competition's training part as ``unique_id, ds, y``."""
    rows = (
        pl.read_csv(DATA / "m4_hourly_train.csv.gz", infer_schema_length=None)
        .unpivot(index="V1", variable_name="hour", value_name="y")
        .with_columns(hour=pl.col("hour").str.slice(1).cast(pl.Int64), y=pl.col("y").cast(pl.Float64))
        .drop_nulls("y")
        .sort("V1", "hour")
    )
    back = pl.len().over("V1") - pl.int_range(pl.len()).over("V1")
    return rows.select(unique_id="V1", ds=pl.lit(END) - back * HOUR, y="y")


def fresh_network(windows: Windows, case: Case, *, seed: int) -> tuple[Forecaster, Layout]:
    """The product's network, as it starts from its baseline."""
    recipe = windows.recipe
    layout = Layout(
        kind=windows.panel.kind,
        network=recipe.network,
        window=recipe.window,
        horizon=recipe.horizon,
        levels=recipe.levels,
        decay=0.0,
        season=windows.season,
    )
    table = torch.from_numpy(fit_seasonal_quantiles(windows).table)
    torch.manual_seed(seed)
    network = build_forecaster(layout, table)
    if case.reshape is not None:
        case.reshape(network, layout, table)
    learn_what_is_usual(network, windows)
    return network, layout


def train_ours(windows: Windows, network: Forecaster, layout: Layout, *, seed: int) -> Mapping[str, float]:
    """The product's training loop."""
    cpu, wall = time.process_time(), time.perf_counter()
    fitted = train(windows, network, layout, budget=Budget(1e6, seed, "cpu"), progress=lambda _advance: None)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {
        "windows": fitted.facts["steps"] * (windows.recipe.batch or 0),
        "parameters": fitted.facts["parameters"],
        "cpu_s": cpu,
        "wall_s": wall,
        "loss": score(fitted, windows).mean,
    }


def train_peer(windows: Windows, case: Case, options: argparse.Namespace, *, seed: int) -> Mapping[str, float]:
    """The peer on the same windows, in a process of its own."""
    recipe, panel = windows.recipe, windows.panel
    owner = panel.owner[windows.train]
    known = [
        panel.target[panel.bounds[series] : windows.train[owner == series].max() + recipe.horizon + 1]
        for series in np.unique(owner)
    ]
    request = {
        "model": case.model,
        "sizes": dict(case.sizes),
        "horizon": recipe.horizon,
        "window": recipe.window,
        "levels": recipe.levels,
        "steps": recipe.max_steps,
        "batch": recipe.batch,
        "learning_rate": recipe.learning_rate,
        "seed": seed,
        "series": options.series,
        "threads": options.threads,
    }
    with tempfile.TemporaryDirectory() as folder:
        question, answer = Path(folder) / "request.npz", Path(folder) / "answer.npy"
        np.savez(
            question,
            asked=json.dumps(request),
            train=np.concatenate(known),
            lengths=[len(part) for part in known],
            windows=panel.target[windows.judging[:, None] + np.arange(-recipe.window + 1, 1)],
        )
        environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
        done = subprocess.run(
            [options.peers / "bin" / "python", PEER, question, answer],
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        quantiles = np.load(answer)

    def answered(_windows: Windows, items: NDArray[np.int64]) -> NDArray[np.float64]:
        return quantiles[np.searchsorted(windows.judging, items)]

    facts: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {**facts, "loss": score(answered, windows).mean}


class Products(TorchDispatchMode):
    """Remembers the matrix products that are worked out while it is on: how, and on which shapes and strides."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Any, list[tuple[torch.Size, tuple[int, ...], torch.dtype]]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in PRODUCTS:
            self.seen.append((func, [(one.shape, one.stride(), one.dtype) for one in args if isinstance(one, Tensor)]))
        return func(*args, **(kwargs or {}))


def bare_seconds(windows: Windows, network: Forecaster) -> float:
    """CPU seconds of an epoch's matrix products, forward and backward, and nothing else."""
    items = torch.from_numpy(windows.train[: windows.recipe.batch])
    inputs = WindowTensors.of(windows, torch.device("cpu")).inputs(items)
    with Products() as products:
        network.train().quantiles(*inputs).sum().backward()
    network.zero_grad(set_to_none=True)
    tensors = [
        (func, [torch.empty_strided(size, stride, dtype=dtype).normal_() for size, stride, dtype in shapes])
        for func, shapes in products.seen
    ]
    began = time.process_time()
    for _ in range(REPEATS):
        for func, given in tensors:
            func(*given)
    return (time.process_time() - began) / (REPEATS * len(items)) * EPOCH


def print_row(measured: Measured) -> None:
    """Three lines, and what they say about each other."""
    bare = median(measured.bare)
    print(f"{'':<16}{'parameters':>11}{'windows':>9}{'CPU s':>8}{'wall s':>8}{'x bare':>8}{'loss':>9}{'preparing':>11}")
    print(f"{'bare products':<16}{'':>20}{bare:>8.1f}{'':>8}{1:>8.2f}")
    for label, found in (("springtide", measured.ours), ("neuralforecast", measured.peer)):
        of = {name: median(one[name] for one in found) for name in found[0]}
        cpu, wall = of["cpu_s"] * EPOCH / of["windows"], of["wall_s"] * EPOCH / of["windows"]
        print(
            f"{label:<16}{of['parameters']:>11.0f}{of['windows']:>9.0f}{cpu:>8.1f}{wall:>8.1f}{cpu / bare:>8.2f}"
            f"{of['loss']:>9.4f}{of['prepared_s']:>11.1f}"
        )
    rounds = list(zip(measured.ours, measured.peer, strict=True))
    ratios = [peer["cpu_s"] / ours["cpu_s"] for ours, peer in rounds]
    print(f"{median(ratios):.1f} times as fast ({min(ratios):.1f} to {max(ratios):.1f})", flush=True)
    assert all(ours["windows"] == peer["windows"] for ours, peer in rounds)
    if any(ours["loss"] > 1.02 * peer["loss"] for ours, peer in rounds):
        print("VOID: the loss here is worse")


if __name__ == "__main__":
    main()
