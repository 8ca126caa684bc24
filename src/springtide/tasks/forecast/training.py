"""The training loop: one contiguous tensor, start indices, pinball loss, best weights kept."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from springtide.evaluation.significance import diebold_mariano
from springtide.tasks.forecast.answers import Answers
from springtide.tasks.forecast.baselines.predictor import thin
from springtide.tasks.forecast.checkpoint import Standing
from springtide.tasks.forecast.scoring import item_scale, naive_error
from springtide.tasks.forecast.volatility import ewma_volatility
from springtide.tasks.seam import Advance

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from springtide.tasks.forecast.checkpoint import Tensors, TrainingCheckpoint
    from springtide.tasks.forecast.items import Windows
    from springtide.tasks.forecast.networks.forecaster import Forecaster
    from springtide.tasks.forecast.networks.layout import Layout
    from springtide.tasks.seam import Budget, Progress

__all__ = ["Fitted", "WindowTensors", "choose_device", "learn_what_is_usual", "train"]

LOOK_STEPS = 50  # optimiser steps between two looks at the validation items
MOST_VALIDATION = 2048  # validation items of one look, evenly spread
USUAL = 2048  # training items that say which inputs are usual, evenly spread
CHUNK = 1024  # items of one pass without gradients
MOST_CHANCE = 0.05  # p-value of the gain on validation above which a cautious training keeps the start
BATCH = {"classic": 64, "lstm": 64, "mixer": 256, "nhits": 256, "nlinear": 256, "patch": 128}  # windows of one step


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A trained network with the best weights that validation saw."""

    network: Forecaster
    layout: Layout
    facts: Mapping[str, Any]
    graph: Path | None = None  # the exported graph of a network with this layout, if there is one

    def __call__(self, windows: Windows, items: NDArray[np.int64]) -> NDArray[np.float64]:
        """Quantiles (n, horizon, levels) in the unit of the target."""
        return self.answer(windows, items).quantiles

    def answer(self, windows: Windows, items: NDArray[np.int64]) -> Answers:
        """Quantiles, and which items are far from what it was trained on."""
        device = next(self.network.parameters()).device
        tensors = WindowTensors.of(windows, device)
        with torch.inference_mode():
            parts = [
                self.network(*tensors.inputs(torch.from_numpy(items[at : at + CHUNK]).to(device)))
                for at in range(0, len(items), CHUNK)
            ]
        quantiles, dissimilarity = (torch.cat(answers).cpu().numpy() for answers in zip(*parts, strict=True))
        return Answers(quantiles, dissimilarity > self.network.doubt.threshold)


@dataclass(frozen=True, slots=True, eq=False)
class WindowTensors:
    """The panel on a device, from which any batch of windows is cut by its items alone."""

    values: Tensor  # (rows, channels) float64
    target: Tensor  # (rows,) float64
    market: Tensor  # (rows,) float64
    seconds: Tensor  # (rows,) int64
    features: Tensor  # (rows, features) float32
    back: Tensor  # (window,) int64: -window + 1 .. 0
    ahead: Tensor  # (horizon,) int64: 1 .. horizon
    is_candles: bool

    @classmethod
    def of(cls, windows: Windows, device: torch.device) -> WindowTensors:
        """Move the panel to `device` once."""
        panel, recipe = windows.panel, windows.recipe
        return cls(
            values=torch.from_numpy(panel.values).to(device),
            target=torch.from_numpy(np.ascontiguousarray(panel.target)).to(device),
            market=torch.from_numpy(panel.market).to(device),
            seconds=torch.from_numpy(panel.seconds).to(device),
            features=torch.from_numpy(windows.features.values).to(device),
            back=torch.arange(-recipe.window + 1, 1, device=device),
            ahead=torch.arange(1, recipe.horizon + 1, device=device),
            is_candles=panel.kind == "candles",
        )

    def inputs(self, items: Tensor) -> tuple[Tensor, ...]:
        """The graph's inputs for (n,) items."""
        window = items[:, None] + self.back  # (n, window)
        features = (self.features[items],) if self.features.shape[1] else ()
        if self.is_candles:
            return self.values[window], self.market[window], self.seconds[items], *features
        return self.values[window], self.seconds[items], *features

    def outcomes(self, items: Tensor) -> Tensor:
        """(n, horizon) float64: what came after each of (n,) items."""
        return self.target[items[:, None] + self.ahead]


def choose_device(wish: str) -> torch.device:
    """``auto`` takes CUDA when it is there."""
    if wish == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(wish)


def learn_what_is_usual(network: Forecaster, windows: Windows) -> None:
    """Let `network` know the circumstances of training items, to doubt those that are unlike them."""
    items = torch.from_numpy(thin(windows.train, USUAL))
    with torch.inference_mode():
        observed = network.observe(*WindowTensors.of(windows, torch.device("cpu")).inputs(items))
        network.doubt.fit(network.circumstances(observed))


def train(
    windows: Windows,
    network: Forecaster,
    layout: Layout,
    *,
    budget: Budget,
    progress: Progress,
    cautious: bool = False,
    checkpoint: TrainingCheckpoint | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Fitted:
    """Minimise the pinball loss on the training items; keep the weights that are best on the validation items.

    Training losses are taken in units of each item's volatility, so that wild times do not drown calm ones (where
    series have seasons, as they are judged); the validation loss is the one that is judged. What is kept is a moving
    average of the weights, which forgets the noise of single steps. The weights at the start are a candidate too: a
    network that learns nothing is returned as it came. So is, when `cautious`, one whose gain on the validation items
    may be chance. Training stops when validation has not improved for `patience` looks, after `max_steps`, or when the
    time budget is spent; a budget of steps takes the place of the last two.

    With a `checkpoint` it goes on from where that one stands, with the network that is kept there, and ends with the
    same weights as a training that was never interrupted.

    Notes
    -----
    Averaged weights: Polyak & Juditsky 1992, doi:10.1137/0330046.
    """
    saved = None if checkpoint is None else checkpoint.standing
    patience = windows.recipe.patience * LOOK_STEPS
    timed = budget.steps is None
    max_steps = windows.recipe.max_steps if budget.steps is None else budget.steps
    max_seconds = budget.seconds if timed else math.inf
    device = choose_device(budget.device)
    network = network.to(device)
    if checkpoint is not None and saved is not None and saved.ended:
        return Fitted(network.eval(), layout, {**saved.facts, **checkpoint.facts})
    objective = _Objective.of(windows, layout, device)
    training = _Training(windows, network, layout, objective, seed=budget.seed)
    began = saved_at = clock()
    if saved is None:
        training.begin()
    else:
        training.go_on(saved)
        began -= saved.facts["seconds"]
    stopped = "max_steps" if timed else "budget of steps"
    while training.step < max_steps:
        training.learn()
        step = training.step
        spent = clock() - began
        over = spent >= max_seconds
        if step % LOOK_STEPS and step < max_steps and not over:
            continue
        training.look()
        share = max(spent / max(max_seconds, 1e-9), step / max_steps)
        left = min(max_seconds - spent, spent / step * (max_steps - step))
        progress(Advance(done=min(1.0, share), epoch=step, loss=training.best.loss, seconds_left=max(0.0, left)))
        if over or step - training.best.step >= patience:
            stopped = "time budget" if over else "validation no longer improves"
            break
        if checkpoint is not None and step < max_steps and clock() - saved_at >= checkpoint.every_s:
            checkpoint.save(training.standing(layout, seconds=clock() - began))
            saved_at = clock()
    start, best = training.start, training.best
    chance = objective.chance(start.losses, best.losses)
    kept = best if best.step and not (cautious and chance > MOST_CHANCE) else start
    network.load_state_dict(kept.weights)
    network.eval()
    facts = {
        "steps": training.step,
        "best_step": best.step,
        "kept": "trained" if kept.step else "start",
        "validation_p_value": chance,
        "validation_loss_at_start": start.loss,
        "validation_loss": kept.loss,
        "best_validation_loss": best.loss,
        "stopped_by": stopped,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "device": str(device),
        "seconds": clock() - began,
    }
    if checkpoint is not None:
        facts |= checkpoint.facts
        checkpoint.save(Standing(layout, network.doubt.threshold, network.state_dict(), facts, parts={}))
    return Fitted(network, layout, facts)


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """Weights that may be kept."""

    step: int
    losses: NDArray[np.float64]  # (n,) of the validation items
    weights: Tensors

    @property
    def loss(self) -> float:
        return float(self.losses.mean())


class _Training:
    """A training between two steps: all that a step or a look changes."""

    def __init__(
        self, windows: Windows, network: Forecaster, layout: Layout, objective: _Objective, *, seed: int
    ) -> None:
        recipe = windows.recipe
        self.network, self.objective = network, objective
        self.average = AveragedModel(network, multi_avg_fn=_moving_average)
        self.optimiser = torch.optim.AdamW(
            network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
        self.items = torch.from_numpy(windows.train)
        self.batch = recipe.batch or BATCH[layout.network]
        self.draw = torch.Generator().manual_seed(seed)  # the same batches on every device
        self.step = 0
        self.start: _Candidate
        self.best: _Candidate

    def begin(self) -> None:
        """Stand at the start, whose weights are the best so far."""
        losses = self.objective.look(self.network)
        self.start = self.best = _Candidate(0, losses, copy.deepcopy(self.network.state_dict()))

    def go_on(self, standing: Standing) -> None:
        """Stand where another process stood."""
        parts, facts = standing.parts, standing.facts
        self.network.load_state_dict(parts["network"])
        self.average.load_state_dict(parts["average"])
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": _by_place(parts["optimiser"])})
        self.draw.set_state(parts["draw"]["state"])
        self.step = facts["steps"]
        self.start = self.best = _Candidate(0, parts["losses"]["start"].numpy(), standing.weights)
        if facts["best_step"]:
            self.best = _Candidate(facts["best_step"], parts["losses"]["best"].numpy(), parts["best"])

    def learn(self) -> None:
        """One optimiser step on training items drawn with replacement."""
        self.step += 1
        places = torch.randint(len(self.items), (self.batch,), generator=self.draw)
        items = self.items[places].to(self.objective.levels.device)
        self.network.train()
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(self.objective.training_loss(self.network, items))
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.average.update_parameters(self.network)

    def look(self) -> None:
        """Remember the averaged weights where they are better than all before."""
        average = cast("Forecaster", self.average.module)
        now = _Candidate(self.step, self.objective.look(average), average.state_dict())
        if now.loss < self.best.loss:
            self.best = replace(now, weights=copy.deepcopy(now.weights))

    def standing(self, layout: Layout, *, seconds: float) -> Standing:
        """All of this, to be written down before the next step."""
        losses = {"start": torch.from_numpy(self.start.losses)}
        parts: dict[str, Tensors] = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": _by_name(self.optimiser.state_dict()["state"]),
            "draw": {"state": self.draw.get_state()},
            "losses": losses,
        }
        if self.best.step:
            losses["best"], parts["best"] = torch.from_numpy(self.best.losses), self.best.weights
        facts = {"steps": self.step, "best_step": self.best.step, "seconds": seconds}
        return Standing(layout, self.network.doubt.threshold, self.start.weights, facts, parts)


def _by_name(state: Mapping[int, Tensors]) -> dict[str, Tensor]:
    """What an optimiser knows of each parameter, ``PLACE.NAME``."""
    return {f"{place}.{name}": tensor for place, tensors in state.items() for name, tensor in tensors.items()}


def _by_place(tensors: Tensors) -> dict[int, dict[str, Tensor]]:
    """What `_by_name` was given."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        place, _, name = key.partition(".")
        state.setdefault(int(place), {})[name] = tensor
    return state


@dataclass(frozen=True, slots=True, eq=False)
class _Objective:
    """The pinball loss, in the unit that trains well and in the unit that is judged."""

    tensors: WindowTensors
    levels: Tensor  # (levels,) float32
    unit: Tensor  # (rows,) float64: what training losses are divided by
    scale: Tensor  # (rows,) float64: what judged losses are divided by
    validation: Tensor  # (n,) int64 items
    step_s: int

    @classmethod
    def of(cls, windows: Windows, layout: Layout, device: torch.device) -> _Objective:
        panel = windows.panel
        rows = np.arange(len(panel.seconds))
        scale = np.ascontiguousarray(item_scale(windows, rows, naive_error(windows)))
        looked_at = thin(windows.validation, MOST_VALIDATION)
        return cls(
            tensors=WindowTensors.of(windows, device),
            levels=torch.tensor(windows.recipe.levels, device=device),
            unit=torch.from_numpy(scale if layout.season > 1 else _volatility(windows, layout)).to(device),
            scale=torch.from_numpy(scale).to(device),
            validation=torch.from_numpy(looked_at).to(device),
            step_s=panel.step_s,
        )

    def training_loss(self, network: Forecaster, items: Tensor) -> Tensor:
        """The mean loss of a batch, in units that train well."""
        return (self._losses(network, items) / self.unit[items]).mean()

    def look(self, network: Forecaster) -> NDArray[np.float64]:
        """(n,) losses of the validation items, as they are judged."""
        network.eval()
        with torch.inference_mode():
            parts = [self._losses(network, part) / self.scale[part] for part in torch.split(self.validation, CHUNK)]
        losses: NDArray[np.float64] = torch.cat(parts).cpu().numpy()
        return losses

    def chance(self, before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
        """How likely a gain as that of `after` on the validation items would be if it were none (one-sided p-value)."""
        steps = self.tensors.seconds[self.validation].cpu().numpy() // self.step_s
        _, place = np.unique(steps, return_inverse=True)
        gains = np.bincount(place, weights=before - after) / np.bincount(place)
        spacing = max(1, int(np.median(np.diff(np.unique(steps)), axis=0))) if len(gains) > 1 else 1
        overlap = (len(self.tensors.ahead) - 1) // spacing
        return diebold_mariano(gains, overlap=overlap)[1]

    def _losses(self, network: Forecaster, items: Tensor) -> Tensor:  # (n,) -> (n,) in the unit of the target
        missed = self.tensors.outcomes(items)[:, :, None] - network.quantiles(*self.tensors.inputs(items))
        missed = missed.float()  # only the difference of two large numbers needs the digits
        return (self.levels * missed + functional.relu(-missed)).mean(dim=(1, 2))


def _volatility(windows: Windows, layout: Layout) -> NDArray[np.float64]:
    """(rows,) volatility in the unit of the target."""
    panel = windows.panel
    volatility = ewma_volatility(panel, window=layout.window, decay=layout.decay)
    return volatility * panel.target if panel.logarithmic else volatility


def _moving_average(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
    """Follow quickly at first, then with a memory of about fifty steps."""
    torch._foreach_lerp_(
        list(averaged), list(current), max(0.02, 9 / (10 + float(count)))
    )  # torch has no public name for it
