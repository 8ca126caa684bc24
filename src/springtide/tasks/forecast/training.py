"""The training loop: one contiguous tensor, start indices, pinball loss, best weights kept."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from springtide.tasks.forecast.scoring import item_scale
from springtide.tasks.seam import Advance

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from springtide.tasks.forecast.items import Windows
    from springtide.tasks.forecast.networks.forecaster import Forecaster, Layout
    from springtide.tasks.seam import Budget, Progress

__all__ = ["Fitted", "WindowTensors", "choose_device", "train"]

LOOK_STEPS = 50  # optimiser steps between two looks at the validation items
MOST_VALIDATION = 2048  # validation items of one look, evenly spread
CHUNK = 1024  # items of one pass without gradients
BATCH = {"mixer": 256, "lstm": 64}  # windows of one step


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A trained network with the best weights that validation saw."""

    network: Forecaster
    layout: Layout
    facts: Mapping[str, Any]

    def __call__(self, windows: Windows, items: NDArray[np.int64]) -> NDArray[np.float64]:
        """Quantiles (n, horizon, levels) in the unit of the target."""
        device = next(self.network.parameters()).device
        tensors = WindowTensors.of(windows, device)
        with torch.inference_mode():
            parts = [
                self.network(*tensors.inputs(torch.from_numpy(items[at : at + CHUNK]).to(device))).cpu().numpy()
                for at in range(0, len(items), CHUNK)
            ]
        quantiles: NDArray[np.float64] = np.concatenate(parts)
        return quantiles


@dataclass(frozen=True, slots=True, eq=False)
class WindowTensors:
    """The panel on a device, from which any batch of windows is cut by its items alone."""

    values: Tensor  # (rows, channels) float64
    target: Tensor  # (rows,) float64
    market: Tensor  # (rows,) float64
    seconds: Tensor  # (rows,) int64
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
            back=torch.arange(-recipe.window + 1, 1, device=device),
            ahead=torch.arange(1, recipe.horizon + 1, device=device),
            is_candles=panel.kind == "candles",
        )

    def inputs(self, items: Tensor) -> tuple[Tensor, ...]:
        """The graph's inputs for (n,) items."""
        window = items[:, None] + self.back  # (n, window)
        if self.is_candles:
            return self.values[window], self.market[window], self.seconds[items]
        return self.values[window], self.seconds[items]

    def outcomes(self, items: Tensor) -> Tensor:
        """(n, horizon) float64: what came after each of (n,) items."""
        return self.target[items[:, None] + self.ahead]


def choose_device(wish: str) -> torch.device:
    """``auto`` takes CUDA when it is there."""
    if wish == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(wish)


def train(
    windows: Windows,
    network: Forecaster,
    layout: Layout,
    *,
    budget: Budget,
    progress: Progress,
    clock: Callable[[], float] = time.monotonic,
) -> Fitted:
    """Minimise the pinball loss on the training items; keep the weights that are best on the validation items.

    The weights at the start count as candidates: a network that learns nothing is returned as it came. Stops when
    validation has not improved for `patience` looks, after `max_steps`, or when the time budget is spent.
    """
    recipe = windows.recipe
    device = choose_device(budget.device)
    network = network.to(device)
    tensors = WindowTensors.of(windows, device)
    levels = torch.tensor(recipe.levels, dtype=torch.float64, device=device)
    training = torch.from_numpy(windows.train).to(device)
    looked_at = windows.validation[:: max(1, len(windows.validation) // MOST_VALIDATION)]
    scale = torch.from_numpy(item_scale(windows, np.arange(len(windows.panel.seconds)))).to(device)
    validation = torch.from_numpy(looked_at).to(device)
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    draw = torch.Generator().manual_seed(budget.seed)
    size = recipe.batch or BATCH[recipe.network]

    def loss_of(items: Tensor) -> Tensor:
        missed = tensors.outcomes(items)[:, :, None] - network(*tensors.inputs(items))
        loss = torch.maximum(levels * missed, (levels - 1) * missed).mean(dim=(1, 2)) / scale[items]
        return loss.mean()

    def look() -> float:
        network.eval()
        with torch.inference_mode():
            parts = [loss_of(part).item() * len(part) for part in torch.split(validation, CHUNK)]
        network.train()
        return sum(parts) / len(validation)

    began = clock()
    first = best = look()
    best_step, step = 0, 0
    weights = copy.deepcopy(network.state_dict())
    gain_unit = 1.0 / max(first, np.finfo(np.float64).tiny)  # losses near 1, so that one learning rate fits all units
    stopped = "max_steps"
    while step < recipe.max_steps:
        step += 1
        batch = training[torch.randint(len(training), (size,), generator=draw).to(device)]
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss_of(batch) * gain_unit)
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        spent = clock() - began
        over = spent >= budget.seconds
        if step % LOOK_STEPS and not over:
            continue
        now = look()
        if now < best:
            best, best_step, weights = now, step, copy.deepcopy(network.state_dict())
        share = max(spent / budget.seconds, step / recipe.max_steps) if recipe.max_steps else 1.0
        left = max(0.0, min(budget.seconds - spent, spent / step * (recipe.max_steps - step)))
        progress(Advance(done=min(1.0, share), epoch=step, loss=best, seconds_left=left))
        if over or step - best_step >= recipe.patience * LOOK_STEPS:
            stopped = "time budget" if over else "validation no longer improves"
            break
    network.load_state_dict(weights)
    network.eval()
    facts = {
        "steps": step,
        "best_step": best_step,
        "validation_loss_at_start": first,
        "validation_loss": best,
        "stopped_by": stopped,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "device": str(device),
        "seconds": clock() - began,
    }
    return Fitted(network, layout, facts)
