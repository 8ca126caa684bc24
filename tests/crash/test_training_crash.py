"""A training that is killed again and again ends at the weights of one that was left alone."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from threading import Timer
from typing import TYPE_CHECKING

import torch
from tests.checkpoints import InFile
from tests.synthetic import seasonal, silent, windows

from springtide.tasks.forecast.checkpoint import decode
from springtide.tasks.forecast.task import ForecastTask
from springtide.tasks.seam import Budget

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

    from springtide.tasks.forecast.checkpoint import Standing

KILLS = 3
SOON_S = 60.0
CPU = Budget(600, seed=3, device="cpu")


class Doomed(InFile):
    """A file whose process is killed up to 50 ms after it was written: in a step, at a look, or in the next writing."""

    def save(self, data: bytes) -> None:
        super().save(data)
        Timer(random.uniform(0.0, 0.05), os.kill, (os.getpid(), signal.SIGKILL)).start()


def train_at(checkpoint: InFile) -> None:
    """What each process does: one fit."""
    torch.set_num_threads(1)
    items = windows(seasonal(), window=48, horizon=12, batch=16, learning_rate=1e-3, max_steps=500, patience=1000)
    ForecastTask(checkpoint_s=0.0).fit(items, start=None, budget=CPU, progress=silent, checkpoint=checkpoint)


def start(checkpoint: InFile) -> ForkServerProcess:
    """A process that trains, forked from one that has imported torch already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=train_at, args=(checkpoint,))
    process.start()
    return process


def ended(path: Path) -> Standing:
    data = path.read_bytes()
    return decode(data, data[32:64])


def test_a_training_that_is_killed_again_and_again_ends_at_the_same_weights(tmp_path: Path) -> None:
    left_alone, killed = tmp_path / "left-alone", tmp_path / "killed"
    undisturbed = start(InFile(left_alone))
    for _ in range(KILLS):
        process = start(Doomed(killed))
        process.join(SOON_S)
        assert process.exitcode == -signal.SIGKILL
    last = start(InFile(killed))
    for process in (last, undisturbed):
        process.join(SOON_S)
        assert process.exitcode == 0
    mine, theirs = ended(killed), ended(left_alone)
    assert mine.facts["resumed_from"] >= KILLS * 50, "every process went on from the one before"
    assert theirs.facts["resumed_from"] == 0
    for name in ("steps", "best_step", "best_validation_loss", "kept"):
        assert mine.facts[name] == theirs.facts[name], name
    assert mine.facts["kept"] == "trained"
    assert all(torch.equal(weights, theirs.weights[name]) for name, weights in mine.weights.items())
