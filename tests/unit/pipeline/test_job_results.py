"""What a task says of itself is taken as our trainers write it, and not otherwise."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from springtide.domain.errors import ModelRefused
from springtide.pipeline.jobs.cells import Done
from springtide.pipeline.jobs.results import read_error, read_result

if TYPE_CHECKING:
    from pathlib import Path

TREES = "tree\nversion=v4\nnum_class=1\n"
BY_SCRIPT: dict[str, Any] = {
    "model": "model.txt",
    "format": "lightgbm",
    "framework": "lightgbm",
    "start": "scratch",
    "predicted_by": "script",
    "classes": [],
    "rows": 100,
    "seconds_in_all": 0.5,
}
BY_US: dict[str, Any] = BY_SCRIPT | {
    "predicted_by": "springtide",
    "classes": ["no", "yes"],
    "validation_rows": 20,
    "epochs": 12,
    "best_epoch": 8,
    "start_loss": None,
    "loss": 0.3,
    "stopped": "no better",
    "seconds": 1.5,
}
PREDICTED = {"predictions": "predictions.npz", "rows": 9, "classes": [], "format": "keras", "seconds_in_all": 1}
CONVERTED = {
    "model": "model.onnx",
    "output": "mean",
    "parity": 1e-7,
    "tolerance": 1e-4,
    "checked_rows": 100,
    "width": 3,
    "seconds_in_all": 2.0,
}


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "model.txt").write_text(TREES)
    return tmp_path


def written(work: Path, told: Any, name: str = "result.json") -> Path:
    (work / "0" / name).write_text(told if isinstance(told, str) else json.dumps(told))
    return work


@pytest.mark.parametrize(
    ("mode", "told"), [("train", BY_SCRIPT), ("train", BY_US), ("predict", PREDICTED), ("convert", CONVERTED)]
)
def test_what_our_trainers_write_comes_back_as_it_is(work: Path, mode: Any, told: dict[str, Any]) -> None:
    assert read_result(written(work, told), "0", mode, by_script=True) == told


@pytest.mark.parametrize(
    "told",
    [
        "",
        "[" * 90_000,
        '{"model": ' + "[" * 90_000,
        "[]",
        "{}",
        {},
        BY_SCRIPT | {"model": "../../etc/passwd"},
        BY_SCRIPT | {"model": "preprocessing.json"},
        BY_SCRIPT | {"model": "model.joblib", "format": "joblib", "framework": "scikit-learn"},
        BY_SCRIPT | {"format": "pickle"},
        BY_SCRIPT | {"format": "bundle", "framework": "", "model": "model.zip", "predicted_by": "springtide"},
        BY_SCRIPT | {"framework": "pytorch"},
        BY_SCRIPT | {"predicted_by": "nobody"},
        BY_SCRIPT | {"start": "sales@1"},
        BY_SCRIPT | {"rows": -1},
        BY_SCRIPT | {"rows": "many"},
        BY_SCRIPT | {"version": 7},
        BY_SCRIPT | {"classes": ["x" * 5000]},
        {name: value for name, value in BY_SCRIPT.items() if name != "framework"},
        BY_SCRIPT | {"note": "x" * 200_000},
    ],
)
def test_a_result_that_a_script_made_up_is_refused(work: Path, told: Any) -> None:
    with pytest.raises(ModelRefused):
        read_result(written(work, told), "0", "train", by_script=True)


def test_a_file_in_another_format_than_was_said_is_refused(work: Path) -> None:
    (work / "0" / "model.txt").write_text("hello")
    with pytest.raises(ModelRefused, match="is not what the trainer writes"):
        read_result(written(work, BY_SCRIPT), "0", "train", by_script=True)


def test_without_a_script_no_script_has_predicted(work: Path) -> None:
    with pytest.raises(ModelRefused, match="no script that could predict"):
        read_result(written(work, BY_SCRIPT), "0", "train", by_script=False)


def test_a_reason_is_cut_and_one_that_cannot_be_read_is_refused(work: Path) -> None:
    said = {"kind": "failed", "what": "x" * 5000, "where": "train.py", "do": "mend it"}
    cut = {"what": "x" * 2000, "where": "train.py", "do": "mend it"}
    assert read_error(written(work, said, "error.json"), "0", "train") == cut
    for wrong in ("[" * 90_000, '{"what": 1}', "x" * 200_000):
        with pytest.raises(ModelRefused):
            read_error(written(work, wrong, "error.json"), "0", "train")


def test_a_file_with_holes_counts_by_its_size(work: Path) -> None:
    done = Done(work, "0", {"mode": "train"}, 1_000_000)
    assert done.file("model.txt") == TREES.encode()
    os.truncate(work / "0" / "model.txt", 2_000_000)
    with pytest.raises(ModelRefused, match="more than 1,000,000 bytes"):
        done.path("model.txt")


def test_a_link_is_there_but_is_no_output(work: Path) -> None:
    (work / "0" / "preprocessing.json").symlink_to("/nowhere")
    done = Done(work, "0", {"mode": "train"}, 1_000_000)
    assert done.has("preprocessing.json")
    with pytest.raises(ModelRefused, match="is a link"):
        done.file("preprocessing.json")
