"""Models that were not trained here, in every format; what does not fit is refused with what, where and what to do."""

from __future__ import annotations

import re
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from tests.environments import ROOT, Environment, find_environment

from springtide.trainers.proving import prove

if TYPE_CHECKING:
    from pathlib import Path

NUMBERS = [{"name": name, "kind": "number"} for name in ("a", "b", "c")]
REAL = [{**column, "name": "c (°%)"} if column["name"] == "c" else column for column in NUMBERS]
REAL_MIXED = [{"name": "day", "kind": "date"}, *REAL, {"name": "word", "kind": "category"}]
EXAMPLES = ROOT / "src" / "springtide" / "trainers" / "examples"
FEW = {"epochs": 20, "patience": 5}

TENSORFLOW = """
import keras, numpy as np, shutil, tensorflow as tf
keras.utils.set_random_seed(3)
def network(*last, width=3):
    return keras.Sequential([keras.Input((width,)), keras.layers.Dense(16, "relu"), *last])
network(keras.layers.Dense(1)).save("given.h5")
network(keras.layers.BatchNormalization(), keras.layers.Dense(1)).save("logit.keras")
network(keras.layers.Dense(1), width=7).save("wide.keras")
network(keras.layers.Dense(1)).export("saved", verbose=False)
shutil.make_archive("saved", "zip", "saved")
network(keras.layers.Lambda(lambda x: x), keras.layers.Dense(1)).save("lambda.keras")
"""
PYTORCH = """
import torch, warnings
from torch import nn
warnings.simplefilter("ignore")
torch.manual_seed(3)
layers = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1), nn.Flatten(0))
rows = ({0: torch.export.Dim.DYNAMIC},)
torch.export.save(torch.export.export(layers, (torch.zeros(2, 3),)), "two_rows.pt2")
torch.onnx.export(layers, (torch.zeros(2, 3),), "dense.onnx", dynamic_shapes=rows, external_data=False, verbose=False)
recurrent = nn.Sequential(nn.Unflatten(1, (3, 1)), nn.Conv1d(3, 4, 1), nn.Flatten(), nn.Linear(4, 1))
torch.onnx.export(recurrent, (torch.zeros(2, 3),), "conv.onnx", dynamic_shapes=rows, external_data=False, verbose=False)
torch.save(layers.state_dict(), "weights.pt")
"""
BOOSTING = """
import joblib, numpy as np, os, pandas as pd, pathlib, skops.io, xgboost, lightgbm
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
table = pd.read_parquet("early.parquet")
numbers, level, rising = table[["c", "b", "a"]], table["level"], table["rising"]
joblib.dump(SGDRegressor(random_state=0).fit(numbers.to_numpy(np.float32), level), "partial.joblib")
joblib.dump(SGDClassifier(loss="log_loss", random_state=0).fit(numbers, rising), "named.joblib")
joblib.dump(SGDClassifier(loss="hinge", random_state=0).fit(numbers, rising), "hinge.joblib")
skops.io.dump(make_pipeline(StandardScaler(), RandomForestRegressor(5, random_state=0)).fit(numbers, level), "forest.skops")
booster = xgboost.train({"max_depth": 2}, xgboost.DMatrix(numbers, level), 5)
booster.save_model("named.ubj")
lightgbm.train({"verbosity": -1, "min_data_in_leaf": 5}, lightgbm.Dataset(numbers, level), 5).save_model("named.txt")
xgboost.train({"objective": "rank:pairwise"}, xgboost.DMatrix(numbers, level), 2).save_model("rank.json")
class Hostile:
    def __reduce__(self):
        return os.system, ("echo opened > opened.txt",)
joblib.dump(Hostile(), "hostile.joblib")
"""


def table(n: int, seed: int, slope: float) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    a, b, c = random.normal(0, 1, (3, n))
    level = slope * a + b + random.normal(0, 0.1, n)
    word = np.where(level > 0, "wet", "dry")
    return pd.DataFrame(
        {
            "a": a,
            "b": b,
            "c": c,
            "word": word,
            "day": pd.date_range("2026-01-01", periods=n, unit="us"),
            "level": level,
            "rising": np.where(level > 0, "yes", "no"),
        }
    )


def with_gaps(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(c=rows["c"].where(rows.index % 7 != 3)).rename(columns={"c": "c (°%)"})


class Cell:
    """An environment with models in it, and a table whose law has changed since they were trained."""

    def __init__(self, environment: Environment) -> None:
        self.environment, self.folder = environment, environment.folder
        table(300, 1, 1.0).to_parquet(self.folder / "early.parquet")
        table(400, 2, 2.0).to_parquet(self.folder / "rows.parquet")
        self.later = table(200, 3, 2.0)
        self.later.drop(columns=["level", "rising"]).to_parquet(self.folder / "later.parquet")
        with_gaps(table(400, 2, 2.0)).to_parquet(self.folder / "gaps.parquet")
        with_gaps(self.later).drop(columns=["level", "rising"]).to_parquet(self.folder / "gaps-later.parquet")

    def train(self, name: str, **keys: Any) -> Path:
        keys = {"task": "regression", "target": "level", "columns": NUMBERS, "params": FEW, **keys}
        return self.environment.task(name, mode="train", data=self.folder / "rows.parquet", **keys)

    def story(self, file: str, **keys: Any) -> list[Path]:
        """Fine-tune a file; ask both; convert the new one."""
        keys = {"task": "regression", "target": "level", "columns": NUMBERS, "params": FEW, **keys}
        folder = self.folder / file
        ending = "zip" if file.endswith(".zip") else file.rsplit(".", 1)[1]
        new = {"model": folder.with_name(f"{file}-new") / f"model.{ending}"}
        prepared = {"preprocessing": folder.with_name(f"{file}-new") / "preprocessing.json"}
        later = self.folder / "later.parquet"
        return [
            self.environment.task(f"{file}-new", mode="train", data=self.folder / "rows.parquet", model=folder, **keys),
            self.environment.task(f"{file}-old-says", mode="predict", data=later, model=folder, **prepared, **keys),
            self.environment.task(f"{file}-new-says", mode="predict", data=later, **new, **prepared, **keys),
            self.environment.task(f"{file}-graph", mode="convert", data=later, **new, **prepared, **keys),
        ]

    def scripted(self, name: str, example: str, ending: str, **keys: Any) -> list[Path]:
        """Train with an example from scratch, then from its model; ask the last. The table has gaps, and a name with signs."""
        keys = {
            "task": "regression", "target": "level", "columns": REAL_MIXED, "params": {},
            "script": EXAMPLES / f"{example}.py", **keys,
        }  # fmt: skip
        rows, later = self.folder / "gaps.parquet", self.folder / "gaps-later.parquet"
        first, second = (self.folder / f"{name}-{which}" / f"model.{ending}" for which in ("first", "second"))
        return [
            self.environment.task(f"{name}-first", mode="train", data=rows, **keys),
            self.environment.task(f"{name}-second", mode="train", data=rows, model=first, **keys),
            self.environment.task(f"{name}-says", mode="predict", data=later, model=second, **keys),
        ]

    def plain(self) -> list[Path]:
        """Train with the example for TensorFlow without its function `predict`, and convert what it made."""
        example = (EXAMPLES / "tensorflow.py").read_text()
        script, trained = self.folder / "plain.py", self.folder / "plain"
        script.write_text(re.sub(r"def predict\(.*?(?=\ndef )", "", example, flags=re.DOTALL))
        made = {"model": trained / "model.keras", "preprocessing": trained / "preprocessing.json"}
        keys = {"task": "regression", "target": "level", "columns": REAL, "params": {"epochs": 2}}
        later = self.folder / "gaps-later.parquet"
        return [
            self.environment.task("plain", mode="train", data=self.folder / "gaps.parquet", script=script, **keys),
            self.environment.task("plain-graph", mode="convert", data=later, **made, **keys),
        ]

    def says(self, name: str) -> Any:
        self.environment.result(name)
        return np.load(self.folder / name / "predictions.npz", allow_pickle=False)

    def loss(self, name: str) -> float:
        """Root mean squared error, or the share of wrong classes."""
        says = self.says(name)
        if "mean" in says:
            return float(np.sqrt(np.mean((says["mean"] - self.later["level"]) ** 2)))
        chosen = says["classes"][says["probabilities"].argmax(axis=1)]
        return float(np.mean(chosen != self.later["rising"]))


@pytest.fixture(scope="module")
def tensorflow(tmp_path_factory: pytest.TempPathFactory) -> Cell:
    cell = Cell(find_environment("tensorflow", tmp_path_factory.mktemp("tensorflow")))
    classes = {"task": "binary", "target": "rising", "classes": ["no", "yes"], "params": {**FEW, "output": "logits"}}
    cell.environment.run(
        [
            *cell.story("given.h5", params={**FEW, "learning_rate": 0.01}),
            *cell.story("saved.zip", params={**FEW, "learning_rate": 0.01}),
            *cell.story("logit.keras", **classes)[:3],
            cell.train("wide", model=cell.folder / "wide.keras"),
            cell.train("lambda", model=cell.folder / "lambda.keras"),
            *cell.scripted("script", "tensorflow", "keras", params={"epochs": 10, "learning_rate": 0.03}),
            *cell.plain(),
        ],
        before=TENSORFLOW,
    )
    return cell


@pytest.fixture(scope="module")
def pytorch(tmp_path_factory: pytest.TempPathFactory) -> Cell:
    cell = Cell(find_environment("pytorch", tmp_path_factory.mktemp("pytorch")))
    cell.environment.run(
        [
            *cell.story("dense.onnx", params={**FEW, "learning_rate": 0.01}),
            cell.train("conv", model=cell.folder / "conv.onnx"),
            cell.train("two_rows", model=cell.folder / "two_rows.pt2"),
            cell.train("weights", model=cell.folder / "weights.pt"),
            cell.train("elsewhere", framework="tensorflow"),
            *cell.scripted("script", "pytorch", "pt", params={"epochs": 30, "learning_rate": 0.01}),
        ],
        before=PYTORCH,
    )
    return cell


@pytest.fixture(scope="module")
def boosting(tmp_path_factory: pytest.TempPathFactory) -> Cell:
    cell = Cell(find_environment("boosting", tmp_path_factory.mktemp("boosting")))
    classes = {"task": "binary", "target": "rising"}
    text = [*NUMBERS, {"name": "word", "kind": "category"}]
    cell.environment.run(
        [
            *cell.story("partial.joblib", params={**FEW, "features": ["c", "b", "a"]}),
            *cell.story("named.joblib", **classes),
            *cell.story("forest.skops"),
            *cell.story("named.ubj", params={"epochs": 100}),
            *cell.story("named.txt", params={"epochs": 100}),
            cell.train("hinge", model=cell.folder / "hinge.joblib", **classes),
            cell.train("rank", model=cell.folder / "rank.json"),
            cell.train("hostile", model=cell.folder / "hostile.joblib"),
            cell.train("words", model=cell.folder / "partial.joblib", columns=text),
            cell.train("typo", framework="lightgbm", params={"leafs": 3}),
            *cell.scripted("script", "boosting", "txt"),
            *cell.scripted("numbers", "boosting", "txt", columns=REAL),
            *cell.scripted("table", "scikit_learn", "skops", classes=["no", "yes"], **classes),
        ],
        before=BOOSTING,
    )
    return cell


@pytest.fixture
def cell(request: pytest.FixtureRequest, environment: str) -> Cell:
    found: Cell = request.getfixturevalue(environment)
    return found


GIVEN = [
    ("tensorflow", "given.h5", "h5"),
    ("tensorflow", "saved.zip", "savedmodel"),
    ("tensorflow", "logit.keras", "keras"),
    ("pytorch", "dense.onnx", "onnx"),
    ("boosting", "partial.joblib", "joblib"),
    ("boosting", "named.joblib", "joblib"),
    ("boosting", "forest.skops", "skops"),
    ("boosting", "named.ubj", "xgboost-binary"),
    ("boosting", "named.txt", "lightgbm"),
]


@pytest.mark.parametrize(("environment", "file", "form"), GIVEN)
def test_a_given_model_is_fine_tuned_and_comes_back_in_its_format(cell: Cell, file: str, form: str) -> None:
    new = cell.environment.result(f"{file}-new")
    assert (new["start"], new["format"]) == ("given", form)
    assert new["loss"] < new["start_loss"]
    assert cell.loss(f"{file}-new-says") < cell.loss(f"{file}-old-says")


@pytest.mark.parametrize(("environment", "file"), [given[:2] for given in GIVEN if given[1] != "logit.keras"])
def test_a_given_model_leaves_as_onnx_too_with_the_same_answers(cell: Cell, file: str) -> None:
    graph = cell.environment.result(f"{file}-graph")
    assert graph["parity"] <= graph["tolerance"]
    folder = cell.folder / f"{file}-graph"
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    assert len(session.get_outputs()) == 1
    assert prove((folder / "model.onnx").read_bytes(), (folder / "probe.npz").read_bytes(), where=file) > 0


REFUSED = [
    ("tensorflow", "wide", "the model reads 7 numbers a row, and the rows have 3", "params.features"),
    ("tensorflow", "lambda", "Keras cannot load it", "without Lambda layers"),
    ("pytorch", "conv", "its operators Conv", "what it has to beat"),
    ("pytorch", "two_rows", "exported for exactly 2 rows", "dynamic_shapes"),
    ("pytorch", "weights", "a state dict holds weights", "script"),
    ("pytorch", "elsewhere", "tensorflow is not in this environment", "the environment of tensorflow"),
    ("boosting", "hinge", "no classifier with predict_proba", "one of them"),
    ("boosting", "rank", "the booster's objective is 'rank:pairwise'", "reg:squarederror"),
    ("boosting", "hostile", "int is no regressor", "an estimator"),
    ("boosting", "words", "these columns are none: word (category)", "params.features"),
    ("boosting", "typo", "no parameter 'leafs'", "did you mean 'leaves'?"),
]


@pytest.mark.parametrize(("environment", "name", "what", "do"), REFUSED)
def test_what_does_not_fit_is_refused_with_what_and_what_to_do(cell: Cell, name: str, what: str, do: str) -> None:
    error = cell.environment.error(name)
    assert error["kind"] == "refused"
    assert what in error["what"]
    assert do in error["do"]
    assert error["where"]


def test_a_hostile_pickle_is_opened_by_the_process_of_the_task(boosting: Cell) -> None:
    assert (boosting.folder / "opened.txt").exists()  # which is why that process is in the sandbox


SCRIPTS = [
    ("tensorflow", "script", "keras"),
    ("pytorch", "script", "state-dict"),
    ("boosting", "script", "lightgbm"),
    ("boosting", "numbers", "lightgbm"),
    ("boosting", "table", "skops"),
]


@pytest.mark.parametrize(("environment", "name", "form"), SCRIPTS)
def test_every_example_trains_goes_on_from_its_model_and_is_asked(cell: Cell, name: str, form: str) -> None:
    first, second = (cell.environment.result(f"{name}-{which}") for which in ("first", "second"))
    assert (first["start"], second["start"]) == ("scratch", "given")
    assert first["format"] == second["format"] == form
    bar = 0.2 if second["classes"] else 0.5 * cell.later["level"].std()
    assert cell.loss(f"{name}-says") < bar


def test_a_script_for_numbers_needs_no_function_of_its_own_to_leave_as_onnx(tensorflow: Cell) -> None:
    graph = tensorflow.environment.result("plain-graph")
    assert graph["parity"] <= graph["tolerance"]


def test_a_saved_model_comes_back_as_a_zip_that_holds_nothing_else(tensorflow: Cell) -> None:
    with zipfile.ZipFile(tensorflow.folder / "saved.zip-new" / "model.zip") as archive:
        assert {name.split("/")[0] for name in archive.namelist()} <= {
            "saved_model.pb", "fingerprint.pb", "variables", "assets",
        }  # fmt: skip
