from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.checkpoints import InMemory
from tests.synthetic import candles, seasonal, silent, windows

from springtide.tasks.forecast import task, training
from springtide.tasks.forecast.checkpoint import (
    Standing,
    TrainingCheckpoint,
    UnusableCheckpoint,
    decode,
    encode,
    fingerprint,
)
from springtide.tasks.forecast.networks.forecaster import build_forecaster
from springtide.tasks.forecast.networks.layout import Layout
from springtide.tasks.forecast.task import ForecastTask
from springtide.tasks.forecast.training import train
from springtide.tasks.seam import Advance, Budget

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from springtide.tasks.forecast.items import Windows
    from springtide.tasks.forecast.training import Fitted

TASK = ForecastTask(checkpoint_s=0.0)  # at every look
CPU = Budget(600, seed=3, device="cpu")
LOOKS = 3  # of a training; one checkpoint at each, of which the last one is that of the end
MARK = b"m" * 32


@pytest.fixture(autouse=True)
def short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints are written at looks, and a few steps between them show as much as many."""
    monkeypatch.setattr(training, "LOOK_STEPS", 5)


def items_of(network: str = "mixer", kind: str = "plain", **changes: Any) -> Windows:
    """Few items and few steps, in which every network learns something."""
    settings = {"network": network, "learning_rate": 1e-3, "max_steps": 5 * LOOKS, "validation": "4d", "batch": 32}
    if kind == "plain":
        return windows(seasonal(), **settings | {"window": 72, "horizon": 30} | changes)
    return windows(candles(series=("BTC/USDT",)), **settings | changes)


def fit(items: Windows, checkpoint: InMemory | None, *, start: Path | None = None, budget: Budget = CPU) -> Fitted:
    return TASK.fit(items, start=start, budget=budget, progress=silent, checkpoint=checkpoint)


def same(one: Fitted, other: Fitted) -> bool:
    """Whether two trainings ended at the same network, to the last bit, with the same facts."""
    mine, theirs = one.network.state_dict(), other.network.state_dict()
    passing = {"seconds", "resumed_from", "checkpoint_ignored"}  # how it came to be, not what it is
    facts = [{name: value for name, value in fitted.facts.items() if name not in passing} for fitted in (one, other)]
    return (
        mine.keys() == theirs.keys()
        and all(torch.equal(weights, theirs[name]) for name, weights in mine.items())
        and one.network.doubt.threshold == other.network.doubt.threshold
        and one.layout == other.layout
        and facts[0] == facts[1]
    )


def standing(data: bytes) -> Standing:
    """What is in a checkpoint, whatever training it is of."""
    return decode(data, mark_of(data))


def mark_of(data: bytes) -> bytes:
    return data[32:64]


def moved(one: Standing) -> dict[str, torch.Tensor]:
    """All the tensors of a training."""
    parts = {"weights": one.weights, **one.parts}
    return {f"{part} {name}": tensor for part, named in parts.items() for name, tensor in named.items()}


def agree(one: bytes, other: bytes) -> bool:
    """Whether two checkpoints are the same to the last bit, but for the seconds that were spent."""
    mine, theirs = moved(standing(one)), moved(standing(other))
    steps = [(facts["steps"], facts["best_step"]) for facts in (standing(one).facts, standing(other).facts)]
    return mine.keys() == theirs.keys() and steps[0] == steps[1] and all(torch.equal(mine[k], theirs[k]) for k in mine)


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of an exported network that a fine-tuning reads."""
    folder = tmp_path_factory.mktemp("champion")
    fitted = fit(items_of(max_steps=5), None)
    save_file(fitted.network.state_dict(), folder / "weights.safetensors")
    (folder / "signature.json").write_text(json.dumps({"layout": fitted.layout.facts()}))
    return folder


@pytest.mark.parametrize(
    ("network", "kind"),
    [
        ("mixer", "candles"),
        ("mixer", "plain"),
        ("nlinear", "candles"),
        ("patch", "candles"),
        ("nhits", "plain"),
        ("lstm", "candles"),
        ("classic", "candles"),
    ],
)
def test_a_training_that_goes_on_from_any_look_ends_as_one_that_was_never_interrupted(network: str, kind: str) -> None:
    items, kept = items_of(network, kind), InMemory()
    whole = fit(items, None)
    assert whole.facts["best_step"] > 0, "there is something to lose"
    assert same(fit(items, kept), whole)
    assert len(kept.saved) == LOOKS
    for look, saved in enumerate(kept.saved[:-1], start=1):
        again = InMemory([saved])
        resumed = fit(items, again)
        assert same(resumed, whole), look
        assert resumed.facts["resumed_from"] == 5 * look
        for mine, theirs in zip(again.saved[1:-1], kept.saved[look:-1], strict=True):
            assert agree(mine, theirs), look


def test_a_training_that_goes_on_remembers_its_best_look_and_loses_patience_when_the_whole_one_does() -> None:
    items, kept = items_of(kind="candles", learning_rate=3e-3, patience=3, max_steps=500), InMemory()
    whole = fit(items, kept)
    assert (whole.facts["stopped_by"], whole.facts["kept"]) == ("validation no longer improves", "trained")
    assert standing(kept.saved[-2]).facts["steps"] > whole.facts["best_step"]
    assert same(fit(items, InMemory(kept.saved[-2:-1])), whole)


def test_a_fine_tuning_goes_on_from_its_champion(champion: Path) -> None:
    items, kept = items_of(), InMemory()
    whole = fit(items, kept, start=champion)
    resumed = fit(items, InMemory(kept.saved[:2]), start=champion)
    assert same(resumed, whole)
    assert (resumed.facts["start"], resumed.facts["resumed_from"]) == ("champion", 10)
    assert resumed.graph == whole.graph == champion / "model.onnx"


@pytest.mark.parametrize("saves", [1, LOOKS])
def test_the_start_is_not_worked_out_again(saves: int, monkeypatch: pytest.MonkeyPatch) -> None:
    items, kept = items_of(kind="candles"), InMemory()
    whole = fit(items, kept)

    def refuse(*_: Any) -> None:
        pytest.fail("this was done before the kill")

    monkeypatch.setattr(task, "start_at_regression", refuse)
    monkeypatch.setattr(task, "learn_what_is_usual", refuse)
    assert same(fit(items, InMemory(kept.saved[:saves])), whole)


def test_a_training_that_had_ended_is_returned_without_a_step() -> None:
    items, kept, told = items_of(), InMemory(), list[Advance]()
    whole = fit(items, kept)
    saves = len(kept.saved)
    again = TASK.fit(items, start=None, budget=CPU, progress=told.append, checkpoint=kept)
    assert same(again, whole)
    assert again.facts == {**whole.facts, "resumed_from": whole.facts["steps"]}
    assert (told, len(kept.saved)) == ([], saves)
    assert np.array_equal(again(items, items.judging), whole(items, items.judging))


def test_seconds_before_the_kill_count() -> None:
    items, kept = items_of(), InMemory()
    fit(items, kept)
    late = standing(kept.saved[0])
    late = replace(late, facts={**late.facts, "seconds": CPU.seconds})
    resumed = fit(items, InMemory([encode(late, mark_of(kept.saved[0]))]))
    assert (resumed.facts["stopped_by"], resumed.facts["steps"]) == ("time budget", 5 + 1)
    assert resumed.facts["seconds"] > CPU.seconds


def test_the_seconds_of_a_checkpoint_grow_from_look_to_look_and_over_a_kill() -> None:
    items, kept = items_of(), InMemory()
    fit(items, kept)
    again = InMemory(kept.saved[:2])
    fit(items, again)
    for one in (kept, again):
        spent = [standing(data).facts["seconds"] for data in one.saved]
        assert spent == sorted(spent)
        assert spent[0] > 0


def test_between_two_checkpoints_is_the_time_that_was_asked_for() -> None:
    items, seldom = items_of(kind="candles", max_steps=100, patience=100), InMemory()
    ticks = itertools.count()
    layout = Layout("candles", "mixer", items.recipe.window, items.recipe.horizon, items.recipe.levels, 0.94)
    train(
        items,
        build_forecaster(layout),
        layout,
        budget=CPU,
        progress=silent,
        checkpoint=TrainingCheckpoint(seldom, MARK, every_s=30.0),
        clock=lambda: float(next(ticks)),  # one second a reading, one reading a step and one a look
    )
    steps = [standing(data).facts["steps"] for data in seldom.saved]
    assert steps == [25, 50, 75, 100], "every 30 s, and at the end"


@pytest.mark.parametrize(
    "changes",
    [{"learning_rate": 2e-3}, {"max_steps": 40}, {"network": "nlinear"}, {"validation": "3d"}],
    ids=lambda changes: next(iter(changes)),
)
def test_the_checkpoint_of_another_recipe_is_ignored_and_the_facts_say_so(changes: dict[str, Any]) -> None:
    kept, others = InMemory(), items_of(**changes)
    fit(items_of(), kept)
    anew = fit(others, InMemory(kept.saved[:1]))
    assert same(anew, fit(others, None))
    assert anew.facts["resumed_from"] == 0
    assert "another training" in anew.facts["checkpoint_ignored"]


def test_the_fingerprint_is_that_of_rows_items_start_and_seed() -> None:
    items, layout = items_of(), Layout("plain", "mixer", 72, 30, (0.1, 0.5, 0.9), 0.0)
    begun = fit(items_of(max_steps=0), None).network
    mine = fingerprint(items, layout, None, seed=1)
    assert mine == fingerprint(items_of(), layout, None, seed=1)
    values = items.panel.values.copy()
    values[0, 0] += 1e-9
    others = [
        fingerprint(replace(items, panel=replace(items.panel, values=values)), layout, None, seed=1),
        fingerprint(replace(items, train=items.train[1:]), layout, None, seed=1),
        fingerprint(replace(items, validation=items.validation[:-1]), layout, None, seed=1),
        fingerprint(items, replace(layout, season=2), None, seed=1),
        fingerprint(items, layout, begun, seed=1),
        fingerprint(items, layout, None, seed=2),
    ]
    assert len({mine, *others}) == 1 + len(others)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:31],
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:],
        lambda data: b"PK\x03\x04" + data,
    ],
    ids=["nothing", "less than a digest", "half", "a byte short", "a byte more", "a bit", "something else"],
)
def test_a_damaged_checkpoint_is_ignored_and_the_facts_say_so(damage: Callable[[bytes], bytes]) -> None:
    items, kept = items_of(max_steps=5), InMemory()
    whole = fit(items, kept)
    broken = InMemory([damage(kept.saved[0])])
    anew = fit(items, broken)
    assert same(anew, whole)
    assert (anew.facts["checkpoint_ignored"], anew.facts["resumed_from"]) == ("it is damaged", 0)
    assert fit(items, broken).facts["resumed_from"] == 5, "it was replaced"


def test_a_fit_without_a_checkpoint_before_it_says_that_it_is_fresh() -> None:
    facts = fit(items_of(max_steps=0), InMemory()).facts
    assert facts["resumed_from"] == 0
    assert "checkpoint_ignored" not in facts


def test_going_on_leaves_the_random_numbers_of_everyone_else_alone() -> None:
    items, kept = items_of(max_steps=10), InMemory()
    fit(items, kept)
    before = torch.random.get_rng_state()
    fit(items, InMemory(kept.saved[:1]))
    assert torch.equal(before, torch.random.get_rng_state())


def test_what_is_decoded_is_what_was_encoded() -> None:
    layout = Layout("candles", "mixer", 24, 4, (0.1, 0.5, 0.9), 0.94, features=("rsi",))
    weights = build_forecaster(layout).state_dict()
    parts = {"losses": {"start": torch.tensor([0.1, -0.0, float("inf")], dtype=torch.float64)}}
    given = Standing(layout, float("inf"), weights, {"steps": 5, "seconds": 0.1 + 0.2}, parts)
    found = decode(encode(given, MARK), MARK)
    assert (found.layout, found.doubt_threshold, found.facts) == (layout, given.doubt_threshold, given.facts)
    assert (given.ended, found.ended) == (False, False)
    mine, theirs = moved(given), moved(found)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) and mine[name].dtype == theirs[name].dtype for name in mine)
    with pytest.raises(UnusableCheckpoint, match="another training"):
        decode(encode(given, MARK), b"o" * 32)
