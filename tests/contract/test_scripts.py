"""Client scripts that fail, lie or write what is no model, and tasks that cannot be done: each with its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper
from tests.environments import Environment, find_environment

from springtide.sdk.reporting import read_line
from springtide.trainers.archives import pack

if TYPE_CHECKING:
    from pathlib import Path

NUMBERS = [{"name": name, "kind": "number"} for name in ("a", "b")]
HEAD = "def train(data, model_path, out_path, params, report):\n"
SCRIPTS = {
    "raises": HEAD + "    report(epoch=1)\n    return data['absent']\n",
    "exits": HEAD + "    raise SystemExit(0)\n",
    "broken": "def train(:\n",
    "empty": "x = 1\n",
    "nothing": HEAD + "    pass\n",
    "two": HEAD + "    (out_path / 'a.txt').write_text('x')\n    (out_path / 'b.txt').write_text('x')\n",
    "link": HEAD + "    (out_path / 'model.txt').symlink_to('/etc/passwd')\n",
    "no model": HEAD + "    (out_path / 'model.txt').write_text('hello')\n",
    "shape": HEAD
    + "    (out_path / 'm.pkl').write_bytes(b'x')\ndef predict(data, model_path):\n    return [1.0, 2.0]\n",
    "words": HEAD
    + "    (out_path / 'm.pkl').write_bytes(b'x')\ndef predict(data, model_path):\n    return ['a'] * len(data)\n",
    "refuses": "from springtide.sdk import Refusal\n"
    + HEAD
    + "    raise Refusal('too hot', where='the data', do='cool it')\n",
    "forges": HEAD
    + "    report(kind='done', loss=0.0)\n"
    + '    print(\'\\x1e{"kind": "progress", "loss": 0}\')\n'
    + "    (out_path.parent / 'result.json').write_text('{\"loss\": 0, \"rows\": 1}')\n"
    + "    (out_path / 'm.pkl').write_bytes(b'x')\n"
    + "def predict(data, model_path):\n    return data['a'].to_numpy() * 2\n",
}


class Room:
    """The environment of boosting, all of whose tasks were done in one process."""

    def __init__(self, environment: Environment) -> None:
        self.environment, self.folder = environment, environment.folder
        random = np.random.default_rng(5)
        table = pd.DataFrame({"a": random.normal(0, 1, 2000), "b": random.normal(0, 1, 2000)})
        table["level"] = 3 * table["a"] + random.normal(0, 0.1, len(table))
        table["only"] = "yes"
        table.to_parquet(self.folder / "rows.parquet")
        table.head(10).to_parquet(self.folder / "few.parquet")
        table.drop(columns=["level", "only"]).to_parquet(self.folder / "later.parquet")
        (self.folder / "text.parquet").write_text("a,b\n1,2\n")
        (self.folder / "tripled.onnx").write_bytes(tripled())
        for name, script in SCRIPTS.items():
            (self.folder / f"{name}.py").write_text(script)
        self.log = environment.run([*map(self.script, SCRIPTS), *self.others()])
        bundle = {name: self.folder / "trained" / name for name in ("model.txt", "preprocessing.json")}
        pack(bundle | {"model.onnx": self.folder / "tripled.onnx"}, self.folder / "bundle.zip")
        self.ended = self.environment.call(
            [
                str(environment.python), "-m", "springtide.trainers.main",
                str(self.task("bundled", mode="predict", data="later", model=self.folder / "bundle.zip")),
                str(self.task("after", mode="predict", data="later")),
                str(self.task("never", mode="predict", data="later", model=self.folder / "bundle.zip")),
            ]
        )  # fmt: skip

    def script(self, name: str) -> Path:
        return self.task(name, script=self.folder / f"{name}.py")

    def task(self, name: str, *, data: str = "rows", **keys: Any) -> Path:
        keys = {"mode": "train", "task": "regression", "target": "level", "columns": NUMBERS, **keys}
        return self.environment.task(name, data=self.folder / f"{data}.parquet", **keys)

    def others(self) -> list[Path]:
        return [
            self.task("trained", framework="lightgbm", params={"epochs": 5}),
            self.task("short", framework="lightgbm", params={"epochs": 100_000, "patience": 100_000}, budget_s=1.0),
            self.task("few", data="few", framework="lightgbm"),
            self.task("text", data="text", framework="lightgbm"),
            self.task("one class", framework="lightgbm", task="binary", target="only"),
            self.task("nothing asked"),
            self.task("champion", mode="predict", data="later", model=self.folder / "tripled.onnx"),
        ]


def tripled() -> bytes:
    """A graph that answers three times the first column."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, (2, 1), [3.0, 0.0])
    features = helper.make_tensor_value_info("x", TensorProto.FLOAT, (None, 2))
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, (None, 1))
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [features], [answer], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def told(room: Room) -> list[dict[str, Any]]:
    return [line for line in map(read_line, room.log.split("\n")) if line is not None]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    return Room(find_environment("boosting", tmp_path_factory.mktemp("scripts")))


REFUSED = [
    ("raises", "the script ended with KeyError: 'absent'", "raises.py, line 3, in train"),
    ("exits", "the script ended with SystemExit", "exits.py, line 2, in train"),
    ("broken", "the script ended with SyntaxError", "broken.py"),
    ("empty", "the script has no function train", "empty.py"),
    ("nothing", "the script wrote 0 files: nothing", "out_path"),
    ("two", "the script wrote 2 files: a.txt, b.txt", "out_path"),
    ("link", "the script wrote links or devices: model.txt", "out_path"),
    ("no model", "the file is no model of a known format", "model.txt"),
    ("shape", "an array of the shape (2,) for 100 rows", "shape.py"),
    ("words", "predict gives no numbers", "words.py"),
    ("refuses", "too hot", "the data"),
    ("few", "10 rows are too few to learn from", "the training rows"),
    ("text", "cannot be read as Parquet", "text.parquet"),
    ("one class", "all rows have one class: 'yes'", "column 'only'"),
    ("nothing asked", "neither a model nor a framework", "task.json"),
]


@pytest.mark.parametrize(("name", "what", "where"), REFUSED)
def test_what_fails_says_what_and_where_and_what_to_do(room: Room, name: str, what: str, where: str) -> None:
    error = room.environment.error(name)
    assert error["kind"] == "refused"
    assert what in error["what"]
    assert where == error["where"]
    assert error["do"]


def test_what_a_script_says_of_itself_is_not_in_its_result(room: Room) -> None:
    result = room.environment.result("forges")
    assert result["rows"] == 2000
    assert "loss" not in result
    assert {"kind": "report", "loss": 0.0} in told(room)


def test_a_training_ends_when_its_time_is_over(room: Room) -> None:
    result = room.environment.result("short")
    assert result["stopped"] == "budget"
    assert result["seconds"] < 3


def test_a_training_tells_how_far_it_is_and_how_much_time_is_left(room: Room) -> None:
    progress = [line for line in told(room) if line["kind"] == "progress" and "seconds_left" in line]
    assert {"epoch", "loss", "best", "seconds_left"} <= progress[-1].keys()
    assert {"prepare", "fit", "script"} <= {line.get("name") for line in told(room)}


def test_a_graph_that_is_only_the_champion_answers_without_being_trained(room: Room) -> None:
    room.environment.result("champion")
    later = pd.read_parquet(room.folder / "later.parquet")
    with np.load(room.folder / "champion" / "predictions.npz", allow_pickle=False) as says:
        np.testing.assert_allclose(says["mean"], 3 * later["a"], rtol=1e-5)


def test_a_bundle_is_a_model_with_its_preprocessing(room: Room) -> None:
    assert room.environment.result("bundled")["format"] == "lightgbm"


def test_tasks_end_at_the_first_that_fails_and_leave_no_scratch(room: Room) -> None:
    assert room.ended.returncode == 1
    assert "no model" in room.environment.error("after")["what"]
    assert not (room.folder / "never").exists()
    assert not list(room.folder.glob("*/scratch-*"))
