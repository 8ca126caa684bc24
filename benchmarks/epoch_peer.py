"""The other side of ``epoch.py``: neuralforecast, run by a Python of its own: ``python epoch_peer.py REQUEST ANSWER``.

``REQUEST`` is an ``.npz`` file with the rows to train on, the windows to answer and, as JSON, what to train. The
quantiles go to ``ANSWER``, what was measured to the standard output, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import pandas as pd
import torch
from neuralforecast import NeuralForecast
from neuralforecast.losses.pytorch import MQLoss
from neuralforecast.models import NHITS, NLinear, PatchTST
from pytorch_lightning.callbacks import Callback

MODELS = {"NHITS": NHITS, "NLinear": NLinear, "PatchTST": PatchTST}


class Clock(Callback):  # type: ignore[misc]  # the library ships no types
    """Counts the windows, and times the training loop alone: from the first batch's fetching to the last step."""

    def __init__(self) -> None:
        self.windows = 0
        self.began = self.ended = (0.0, 0.0)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """The data are prepared and the model stands."""
        self.began = now()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Every step draws so many windows from the batch's series."""
        self.windows += pl_module.windows_batch_size

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """After the last step."""
        self.ended = now()


def main() -> None:
    began = now()
    given = np.load(sys.argv[1])
    asked = json.loads(str(given["asked"]))
    torch.set_num_threads(asked["threads"])
    model = MODELS[asked["model"]](
        h=asked["horizon"],
        input_size=asked["window"],
        loss=MQLoss(quantiles=asked["levels"]),
        max_steps=asked["steps"],
        learning_rate=asked["learning_rate"],
        batch_size=asked["series"],
        windows_batch_size=asked["batch"],
        training_data_availability_threshold=1.0,  # whole windows only
        scaler_type="standard",
        random_seed=asked["seed"],
        accelerator="cpu",
        callbacks=[Clock()],
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        **asked["sizes"],
    )
    forecast = NeuralForecast(models=[model], freq=1)
    forecast.fit(_rows(given["train"], given["lengths"]), val_size=0)
    fitted = now()
    trained = forecast.models[0]  # a copy
    clock = trained.trainer_kwargs["callbacks"][0]

    windows = given["windows"]  # (n, window)
    answers = forecast.predict(df=_rows(windows.ravel(), np.full(len(windows), windows.shape[1])))
    quantiles = answers.drop(columns=["unique_id", "ds"]).to_numpy()
    np.save(sys.argv[2], quantiles.reshape(len(windows), asked["horizon"], -1))
    facts = {
        "windows": clock.windows,
        "parameters": sum(weights.numel() for weights in trained.parameters() if weights.requires_grad),
        "cpu_s": clock.ended[0] - clock.began[0],
        "wall_s": clock.ended[1] - clock.began[1],
        "prepared_s": fitted[0] - began[0] - (clock.ended[0] - clock.began[0]),
    }
    print(json.dumps(facts))


def now() -> tuple[float, float]:
    """Seconds of CPU that this process has used, and seconds on the wall."""
    return time.process_time(), time.perf_counter()


def _rows(values: np.ndarray, lengths: np.ndarray) -> pd.DataFrame:
    """Series of `lengths` that lie one after another in `values`, as the library wants them."""
    steps = np.concatenate([np.arange(length) for length in lengths])
    return pd.DataFrame({"unique_id": np.repeat(np.arange(len(lengths)), lengths), "ds": steps, "y": values})


if __name__ == "__main__":
    main()
