"""train.py for PyTorch: a module of the feature columns, saved as a state dict.

Called once, in an environment with PyTorch, NumPy, pandas and springtide.sdk; without a network. What it prints is the
job's log. A state dict does not say which module it belongs to; so there is a second function, `predict`. A model that
is saved with torch.export needs none. It learns from the columns of numbers and leaves texts and dates out.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from springtide.sdk import Deadline, Params

HIDDEN = 32


class Network(nn.Module):
    """One hidden layer between inputs and a target that are scaled by what training rows were like."""

    mean: Tensor
    scale: Tensor
    target_mean: Tensor
    target_scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("target_mean", torch.zeros(()))
        self.register_buffer("target_scale", torch.ones(()))
        self.layers = nn.Sequential(nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))

    def forward(self, features: Tensor) -> Tensor:  # (rows, width) -> (rows,)
        """Answer in the unit of the target."""
        known = torch.nan_to_num((features - self.mean) / self.scale)  # a gap counts as the mean of its column
        scaled: Tensor = self.layers(known)[:, 0]
        return scaled * self.target_scale + self.target_mean


def train(
    data: pd.DataFrame, model_path: Path | None, out_path: Path, params: Params, report: Callable[..., None]
) -> None:
    """Train on `data`, from `model_path` if it is there, and write one model into `out_path`."""
    deadline = Deadline(0.9 * params["budget_s"])  # leaves time to save
    torch.manual_seed(params["seed"])
    features = as_tensor(data[params["features"]])  # (rows, width), in the order of time
    target = torch.tensor(data[params["target"]].to_numpy(np.float32))
    network = Network(features.shape[1])
    if model_path is not None:
        network.load_state_dict(torch.load(model_path, weights_only=True))
    else:
        network.mean = features.nanmean(0).nan_to_num()
        network.scale = (features - network.mean).square().nanmean(0).nan_to_num().sqrt().clamp_min(1e-6)
        network.target_mean, network.target_scale = target.mean(), target.std().clamp_min(1e-6)

    optimizer = torch.optim.AdamW(network.parameters(), lr=params.number("learning_rate", 1e-3, low=0, high=1))
    for epoch in range(1, params.whole("epochs", 100, low=1) + 1):
        for rows in torch.randperm(len(features)).split(256):
            optimizer.zero_grad()
            loss = ((network(features[rows]) - target[rows]) / network.target_scale).square().mean()
            loss.backward()
            optimizer.step()
        report(epoch=epoch, loss=loss.item(), seconds_left=round(deadline.seconds_left))
        if deadline.passed:
            break
    torch.save(network.state_dict(), out_path / "model.pt")


def predict(data: pd.DataFrame, model_path: Path) -> np.ndarray:
    """Answer rows that have the feature columns and no target."""
    features = as_tensor(data)
    network = Network(features.shape[1])
    network.load_state_dict(torch.load(model_path, weights_only=True))
    with torch.inference_mode():
        return network(features).numpy()


def as_tensor(columns: pd.DataFrame) -> Tensor:
    """Columns of numbers as one table; texts and dates are left out."""
    return torch.tensor(columns.select_dtypes("number").to_numpy(np.float32))
