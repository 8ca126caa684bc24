"""The exported file says what the trained network says, and nothing in it can run code."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.numpy import load_file, save_file
from tests.synthetic import candles, frozen, plain, silent, windows

from springtide.domain.errors import Conflict, ModelRefused
from springtide.tasks.forecast import volatility
from springtide.tasks.forecast.export import load_exported, load_network
from springtide.tasks.forecast.graphs import MOST_KEPT, GraphCache
from springtide.tasks.forecast.task import ForecastTask
from springtide.tasks.forecast.training import WindowTensors
from springtide.tasks.seam import Budget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import polars as pl
    from numpy.typing import NDArray

    from springtide.tasks.forecast.items import Windows
    from springtide.tasks.forecast.training import Fitted
    from springtide.tasks.seam import Exported

TASK = ForecastTask()
CPU = Budget(60, device="cpu")
FILES = {"model.onnx", "weights.safetensors", "signature.json", "probe.npz"}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Far faster for small networks where other processes want the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Case:
    """One network with weights far from its start, and the files it was exported to."""

    items: Windows
    fitted: Fitted
    exported: Exported
    folder: Path


def same(expected: NDArray[np.float64]) -> object:
    """Equal to a thousandth of the usual distance between the outermost quantiles."""
    return pytest.approx(expected, abs=1e-3 * float(np.median(expected[:, :, -1] - expected[:, :, 0])))


def rows_of(kind: str, *, seed: int = 1) -> pl.DataFrame:
    """Candles, or plain values that are far from zero, so that a relative difference means something."""
    return candles(seed=seed) if kind == "candles" else plain(seed=seed)


def case(network: str, kind: str, folder: Path) -> Case:
    items = windows(rows_of(kind), network=network, max_steps=0)
    fitted = TASK.fit(items, start=None, budget=CPU, progress=silent)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weights in fitted.network.parameters():
            weights.add_(0.03 * torch.randn(weights.shape, generator=generator))
    return Case(items, fitted, TASK.export(fitted, items, folder), folder)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Case]:
    """Export each network once: it takes seconds."""
    return cache(lambda network, kind: case(network, kind, tmp_path_factory.mktemp(f"{network}-{kind}")))


@pytest.fixture(params=[("mixer", "candles"), ("mixer", "plain"), ("lstm", "candles"), ("lstm", "plain")], ids="-".join)
def one(request: pytest.FixtureRequest, exported: Callable[[str, str], Case]) -> Case:
    return exported(*request.param)


def test_the_exported_file_gives_the_answers_of_the_network(one: Case) -> None:
    items = np.concatenate([one.items.train, one.items.validation, one.items.judging])
    assert TASK.load(one.folder)(one.items, items) == same(one.fitted(one.items, items))
    assert one.exported.parity <= 1e-5


@pytest.mark.parametrize("size", [1, 7])
def test_the_exported_file_takes_any_number_of_windows(one: Case, size: int) -> None:
    items = one.items.judging[:size]
    inputs = WindowTensors.of(one.items, torch.device("cpu")).inputs(torch.from_numpy(items))
    feeds = {name: tensor.numpy() for name, tensor in zip(one.exported.signature["inputs"], inputs, strict=True)}
    session = onnxruntime.InferenceSession(one.folder / "model.onnx", providers=["CPUExecutionProvider"])
    answers, dissimilarity = session.run(None, feeds)
    assert dissimilarity.shape == (size,)
    assert answers.shape == (size, one.items.recipe.horizon, len(one.items.recipe.levels))
    assert answers.dtype == np.float64
    assert answers == same(one.fitted(one.items, items))


def test_the_probe_is_reproduced_by_the_file_beside_it(one: Case) -> None:
    with np.load(one.folder / "probe.npz", allow_pickle=False) as probe:
        arrays = dict(probe)
    feeds = {name.removeprefix("in_"): array for name, array in arrays.items() if name.startswith("in_")}
    session = onnxruntime.InferenceSession(one.folder / "model.onnx", providers=["CPUExecutionProvider"])
    assert {feed.name for feed in session.get_inputs()} == feeds.keys()
    assert arrays.keys() == {f"in_{name}" for name in feeds} | {"out_0", "out_1"}
    assert session.run(None, feeds)[0] == pytest.approx(arrays["out_0"], rel=1e-6, abs=1e-12)
    assert len(arrays["out_0"]) >= 1


def test_the_files_are_a_graph_tensors_json_and_numbers_and_nothing_that_is_unpickled(one: Case) -> None:
    assert set(one.exported.files) == FILES == {path.name for path in one.folder.iterdir()}
    assert load_file(one.folder / "weights.safetensors").keys() == one.fitted.network.state_dict().keys()
    assert json.loads((one.folder / "signature.json").read_bytes()) == json.loads(json.dumps(one.exported.signature))
    with np.load(one.folder / "probe.npz", allow_pickle=False) as probe:
        assert all(array.dtype.kind in "fiu" for array in probe.values())


def test_the_signature_says_all_that_the_question_was(one: Case) -> None:
    signature, asked = one.exported.signature, one.items.recipe
    assert signature["series"] == list(one.items.panel.series)
    assert (signature["kind"], signature["step_s"]) == (one.items.panel.kind, 3600)
    assert (signature["window"], signature["horizon"]) == (asked.window, asked.horizon)
    assert (signature["levels"], signature["intervals"]) == (list(asked.levels), list(asked.intervals))


def test_the_weights_that_training_starts_from_are_those_that_were_exported(one: Case) -> None:
    loaded = load_network(one.folder, one.fitted.layout)
    assert loaded is not None
    network, layout, graph = loaded
    assert layout == one.fitted.layout
    assert graph == one.folder / "model.onnx"
    for name, weights in one.fitted.network.state_dict().items():
        assert torch.equal(network.state_dict()[name], weights)


def test_fine_tuning_for_no_step_answers_as_the_champion(one: Case) -> None:
    tuned = TASK.fit(one.items, start=one.folder, budget=CPU, progress=silent)
    answers = one.fitted(one.items, one.items.judging)
    assert tuned(one.items, one.items.judging) == pytest.approx(answers, rel=1e-12)
    assert not np.allclose(
        answers, TASK.baselines(one.items)["ewma-volatility"](one.items, one.items.judging), rtol=1e-4
    )


def tuned(champion: Case, folder: Path) -> Case:
    """The champion, trained further on other rows, in `folder`."""
    rows = rows_of(champion.items.panel.kind, seed=4)
    items = windows(rows, network=champion.items.recipe.network, max_steps=50, learning_rate=1e-3)
    fitted = TASK.fit(items, start=champion.folder, budget=CPU, progress=silent)
    assert fitted.facts["best_step"] > 0
    return Case(items, fitted, TASK.export(fitted, items, folder), folder)


def test_a_tuned_network_in_its_champions_graph_gives_its_own_answers(one: Case, tmp_path: Path) -> None:
    child = tuned(one, tmp_path)
    items = np.concatenate([child.items.train, child.items.judging])
    answers = TASK.load(child.folder)(child.items, items)
    assert answers == same(child.fitted(child.items, items))
    assert not np.allclose(answers, TASK.load(one.folder)(child.items, items), rtol=1e-4)
    assert child.exported.facts["graph"] == "known, with new weights"
    assert set(child.exported.files) == FILES == {path.name for path in child.folder.iterdir()}


def test_a_second_fit_from_scratch_takes_the_graph_of_the_first(tmp_path: Path) -> None:
    task = ForecastTask(graphs=GraphCache(tmp_path / "graphs"))
    facts = []
    for seed in (1, 2):
        items = windows(candles(seed=seed), network="mixer", max_steps=20)
        fitted = task.fit(items, start=None, budget=Budget(60, seed=seed, device="cpu"), progress=silent)
        folder = tmp_path / str(seed)
        folder.mkdir()
        facts.append(task.export(fitted, items, folder).facts["graph"])
        assert task.load(folder)(items, items.judging) == same(fitted(items, items.judging))
    assert facts == ["exported", "known, with new weights"]


def test_a_damaged_graph_in_the_cache_is_exported_anew(tmp_path: Path, champion: Case) -> None:
    graphs = GraphCache(tmp_path / "graphs")
    graphs.keep(champion.fitted.layout, champion.folder / "model.onnx")
    kept = graphs.find(champion.fitted.layout)
    assert kept is not None
    kept.write_bytes(kept.read_bytes()[:1000])
    folder = tmp_path / "again"
    folder.mkdir()
    assert ForecastTask(graphs=graphs).export(champion.fitted, champion.items, folder).facts["graph"] == "exported"


def test_a_window_of_prices_that_stand_still_is_answered_alike_in_both_forms_and_soberly(tmp_path: Path) -> None:
    items = windows(frozen(candles(), range(560, 650)), window=72, network="nlinear", max_steps=0)
    fitted = TASK.fit(items, start=None, budget=CPU, progress=silent)
    assert TASK.export(fitted, items, tmp_path).parity <= 1e-5
    answers = TASK.load(tmp_path)(items, items.judging)
    assert answers == pytest.approx(fitted(items, items.judging), rel=1e-6)
    assert (answers[:, -1, -1] / answers[:, -1, 0]).max() < 2.0


def test_a_network_whose_answers_are_no_numbers_is_refused_and_the_graph_is_not_blamed(tmp_path: Path) -> None:
    items = windows(candles(), network="nlinear", max_steps=0)
    fitted = TASK.fit(items, start=None, budget=CPU, progress=silent)
    with torch.no_grad():
        fitted.network.head.direct.bias.fill_(1e4)
    with pytest.raises(ModelRefused) as refused:
        TASK.export(fitted, items, tmp_path)
    assert "no finite numbers on 376 of 376 real windows" in refused.value.what
    assert "BTC/USDT at 2024-01-23 00:00 UTC" in refused.value.where
    assert "onnx" not in str(refused.value)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_flipped_in_a_cached_graph_the_export_gives_the_networks_answers(
    tmp_path: Path, champion: Case, seed: int
) -> None:
    graphs = GraphCache(tmp_path / "graphs")
    graphs.keep(champion.fitted.layout, champion.folder / "model.onnx")
    kept = graphs.find(champion.fitted.layout)
    assert kept is not None
    damaged = np.frombuffer(kept.read_bytes(), dtype=np.uint8).copy()
    damaged[np.random.default_rng(seed).integers(0, len(damaged), 400)] ^= 8
    kept.write_bytes(damaged.tobytes())
    again = exported_into(tmp_path / "again", champion, graphs)
    assert again.facts["graph"] == "exported"
    assert again.parity <= 1e-5
    assert exported_into(tmp_path / "after", champion, graphs).facts["graph"] == "known, with new weights"


def test_a_folder_in_the_place_of_a_cached_graph_is_gone_around_and_told(tmp_path: Path, champion: Case) -> None:
    graphs = GraphCache(tmp_path / "graphs")
    graphs.keep(champion.fitted.layout, champion.folder / "model.onnx")
    kept = graphs.find(champion.fitted.layout)
    assert kept is not None
    kept.unlink()
    kept.mkdir()
    assert "not kept for the next run" in exported_into(tmp_path / "again", champion, graphs).facts["graph"]
    assert list(graphs.folder.iterdir()) == [kept]  # nothing half written is left


def test_a_cache_that_cannot_be_used_is_gone_without_and_told(tmp_path: Path, champion: Case) -> None:
    graphs = GraphCache(tmp_path / ("x" * 300))  # a name that no disk takes
    assert graphs.find(champion.fitted.layout) is None
    assert "not kept for the next run" in exported_into(tmp_path / "again", champion, graphs).facts["graph"]


def test_the_cache_keeps_the_graphs_that_were_used_last(tmp_path: Path, champion: Case) -> None:
    graphs = GraphCache(tmp_path)
    layouts = [replace(champion.fitted.layout, window=window) for window in range(10, 11 + MOST_KEPT)]
    graph = tmp_path / "graph"
    graph.write_bytes(b"graph")
    for age, layout in enumerate(layouts[:-1]):
        graphs.keep(layout, graph)
        path = graphs.find(layout)
        assert path is not None
        os.utime(path, (1000 + age, 1000 + age))
    graphs.find(layouts[0])  # used now
    graphs.keep(layouts[-1], graph)
    assert graphs.find(layouts[0]) is not None
    assert graphs.find(layouts[1]) is None
    assert all(graphs.find(layout) for layout in layouts[2:])


def test_a_cached_graph_is_not_found_once_a_constant_beside_the_networks_has_changed(
    tmp_path: Path, champion: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs = GraphCache(tmp_path)
    graphs.keep(champion.fitted.layout, champion.folder / "model.onnx")
    assert graphs.find(champion.fitted.layout) is not None
    source = Path(volatility.__file__)
    changed = tmp_path / "volatility.py"
    changed.write_text(source.read_text().replace("FLOOR = 1e-6", "FLOOR = 1e-5"))
    monkeypatch.setattr(volatility, "__file__", str(changed))
    assert graphs.find(champion.fitted.layout) is None


def exported_into(folder: Path, champion: Case, graphs: GraphCache) -> Exported:
    folder.mkdir()
    return ForecastTask(graphs=graphs).export(champion.fitted, champion.items, folder)


# --- one network is enough for what follows


@pytest.fixture
def champion(exported: Callable[[str, str], Case]) -> Case:
    return exported("mixer", "candles")


def test_the_same_weights_make_the_same_file_however_it_was_made_and_wherever(champion: Case, tmp_path: Path) -> None:
    graphs = GraphCache(tmp_path / "graphs")
    graphs.keep(champion.fitted.layout, champion.folder / "model.onnx")
    folder = tmp_path / "again"
    folder.mkdir()
    again = ForecastTask(graphs=graphs).export(champion.fitted, champion.items, folder)
    assert (champion.exported.facts["graph"], again.facts["graph"]) == ("exported", "known, with new weights")
    graph = (champion.folder / "model.onnx").read_bytes()
    assert (folder / "model.onnx").read_bytes() == graph
    assert b"forecaster.py" not in graph, "where the code lies is nobody's business"


def test_fine_tuning_leaves_the_champions_files_as_they_were(champion: Case, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in champion.folder.iterdir()}
    tuned(champion, tmp_path)
    assert before == {path.name: path.read_bytes() for path in champion.folder.iterdir()}


def test_fine_tuning_never_ends_worse_on_validation_than_the_champion(champion: Case) -> None:
    items = windows(candles(), max_steps=50)
    tuned = TASK.fit(items, start=champion.folder, budget=CPU, progress=silent)
    assert tuned.facts["validation_loss"] <= tuned.facts["validation_loss_at_start"]
    untrained = TASK.fit(champion.items, start=None, budget=CPU, progress=silent)
    assert tuned.facts["validation_loss_at_start"] > untrained.facts["validation_loss_at_start"]


def test_a_champions_graph_that_computes_something_else_is_exported_anew(champion: Case, tmp_path: Path) -> None:
    folder = shutil.copytree(champion.folder, tmp_path / "champion")
    graph = onnx.load(folder / "model.onnx")
    next(node for node in graph.graph.node if node.op_type == "Exp").op_type = "Sin"
    onnx.save(graph, folder / "model.onnx")
    child = tuned(replace(champion, folder=folder), tmp_path)
    assert child.exported.facts["graph"] == "exported"
    answers = TASK.load(child.folder)(child.items, child.items.judging)
    assert answers == same(child.fitted(child.items, child.items.judging))


@pytest.mark.parametrize("changes", [{"window": 30}, {"horizon": 6}, {"network": "lstm"}, {"intervals": (80,)}])
def test_a_champion_of_another_layout_is_not_tuned_but_begun_anew(champion: Case, changes: dict[str, object]) -> None:
    items = windows(candles(), **({"max_steps": 0} | changes))
    begun = TASK.fit(items, start=champion.folder, budget=CPU, progress=silent)
    anew = TASK.fit(items, start=None, budget=CPU, progress=silent)
    assert begun.facts["start"] == anew.facts["start"] == "scratch"
    assert begun(items, items.judging) == pytest.approx(anew(items, items.judging), rel=1e-9)


def test_a_champion_without_the_limits_of_its_facts_is_begun_anew(champion: Case, tmp_path: Path) -> None:
    folder = shutil.copytree(champion.folder, tmp_path / "champion")
    weights = load_file(folder / "weights.safetensors")
    save_file(
        {name: one for name, one in weights.items() if name not in {"head.least", "head.most"}},
        folder / "weights.safetensors",
    )
    begun = TASK.fit(champion.items, start=folder, budget=CPU, progress=silent)
    assert begun.facts["start"] == "scratch"


@pytest.mark.parametrize(
    "changes",
    [
        {"horizon": 5},
        {"intervals": (80, 90)},
    ],
    ids=["horizon", "levels"],
)
def test_a_champion_refuses_another_question(champion: Case, changes: dict[str, object]) -> None:
    items = windows(candles(), **changes)
    with pytest.raises(Conflict) as refused:
        load_exported(champion.folder)(items, items.judging)
    name, value = next(iter(changes.items()))
    assert "another question" in refused.value.what
    if name != "intervals":
        assert f"'{name}': {value}" in refused.value.where


def test_a_champion_of_candles_refuses_plain_series_and_another_step(champion: Case) -> None:
    two_hourly = candles(24 * 60, series=["BTC/USDT"]).filter(
        candles(24 * 60, series=["BTC/USDT"])["ds"].dt.hour() % 2 == 0
    )
    for rows in (plain(), two_hourly):
        items = windows(rows)
        with pytest.raises(Conflict):
            TASK.losses(TASK.load(champion.folder), items)


def test_a_champion_refuses_items_with_less_history_than_it_sees(champion: Case) -> None:
    items = windows(candles(), window=12)
    young = items.panel.bounds[:1] + 15  # 16 rows of its series are known, the champion sees 24
    with pytest.raises(Conflict, match="another question"):
        load_exported(champion.folder)(items, young)


@pytest.mark.parametrize("window", [12, 48])
def test_a_champion_with_another_window_is_asked_for_the_same_items(champion: Case, window: int) -> None:
    items = windows(candles(), window=window)
    inside = np.isin(champion.items.judging, items.judging)
    answers = champion.fitted(champion.items, champion.items.judging[inside])
    assert TASK.load(champion.folder)(items, items.judging) == same(answers)
    assert len(TASK.losses(TASK.load(champion.folder), items).values) == len(items.judging)
