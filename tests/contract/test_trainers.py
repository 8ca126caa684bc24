"""One story for every framework: trained, fine-tuned with later rows, asked, converted."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from tests.environments import Environment, find_environment

from springtide.trainers.preprocessing import read_preprocessing
from springtide.trainers.proving import prove
from springtide.trainers.table import arrays_of
from springtide.trainers.task import Column

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FRAMEWORKS = {
    "lightgbm": ("boosting", "model.txt"),
    "xgboost": ("boosting", "model.json"),
    "scikit-learn": ("boosting", "model.skops"),
    "pytorch": ("pytorch", "model.pt2"),
    "tensorflow": ("tensorflow", "model.keras"),
}
COLUMNS = [
    {"name": "town", "kind": "category"},
    {"name": "day", "kind": "date"},
    {"name": "rain", "kind": "number"},
    {"name": "wind", "kind": "number"},
]
TARGETS = {"regression": "level", "multiclass": "grade"}
QUESTIONS = {name: ("multiclass",) if name in ("pytorch", "tensorflow") else tuple(TARGETS) for name in FRAMEWORKS}
QUICK = {"epochs": 25, "patience": 5, "learning_rate": 0.01}  # for networks
TABLE: dict[str, Any] = {"columns": COLUMNS, "time": "day"}


def rows(n: int, *, day: int, seed: int, slope: float = 3.0) -> pd.DataFrame:
    """A river whose level follows rain and town; `slope` is the law that may change."""
    random = np.random.default_rng(seed)
    town = random.choice(["Kostroma", "Galich", "Buy"], n)
    rain = random.gamma(2.0, 1.0, n)
    level = 100 + slope * rain + 5 * (town == "Galich") + random.normal(0, 0.3, n)
    return pd.DataFrame(
        {
            "town": np.where(random.random(n) < 0.02, None, town),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(day + np.sort(random.integers(0, 60, n)), unit="D"),
            "rain": np.where(random.random(n) < 0.05, np.nan, rain),
            "wind": random.normal(0, 1, n),
            "level": level,
            "grade": np.select([level < 104, level < 108], ["low", "mean"], "high"),
        }
    )


class Story:
    """What one framework did with the rows of its table."""

    def __init__(self, cell: Environment, framework: str) -> None:
        self.cell, self.framework, self.file = cell, framework, FRAMEWORKS[framework][1]
        self.later = rows(200, day=120, seed=3, slope=5.0)
        self.later.loc[0, "town"] = "Manturovo"  # never seen
        tables = {
            "early": rows(600, day=0, seed=1),
            "middle": rows(400, day=60, seed=2, slope=5.0),
            "later": self.later.drop(columns=["level", "grade"]),
        }
        for name, table in tables.items():
            table.to_parquet(cell.folder / f"{name}.parquet")
        cell.run([task for question in QUESTIONS[framework] for task in self.tasks(question)])

    def tasks(self, question: str) -> list[Path]:
        params = QUICK if self.framework in ("pytorch", "tensorflow") else {}
        common = {**TABLE, "task": question, "target": TARGETS[question], "params": params}
        early, middle, later = (self.cell.folder / f"{name}.parquet" for name in ("early", "middle", "later"))
        first, second = self.given(question, "first"), self.given(question, "second")
        return [
            self.cell.task(f"{question}-first", mode="train", data=early, framework=self.framework, **common),
            self.cell.task(f"{question}-again", mode="train", data=early, framework=self.framework, **common),
            self.cell.task(f"{question}-second", mode="train", data=middle, **first, **common),
            self.cell.task(f"{question}-old", mode="predict", data=later, **first, **common),
            self.cell.task(f"{question}-same", mode="predict", data=later, **self.given(question, "again"), **common),
            self.cell.task(f"{question}-new", mode="predict", data=later, **second, **common),
            self.cell.task(f"{question}-graph", mode="convert", data=later, **second, **common),
        ]

    def given(self, question: str, name: str) -> dict[str, Path]:
        folder = self.cell.folder / f"{question}-{name}"
        return {"model": folder / self.file, "preprocessing": folder / "preprocessing.json"}

    def answers(self, question: str, name: str) -> np.ndarray:
        self.cell.result(f"{question}-{name}")
        with np.load(self.cell.folder / f"{question}-{name}" / "predictions.npz", allow_pickle=False) as file:
            if question == "regression":
                return file["mean"]
            assert file["classes"].tolist() == ["high", "low", "mean"]
            return file["probabilities"]

    def loss(self, question: str, name: str) -> float:
        answer = self.answers(question, name)
        if question == "regression":
            return float(np.sqrt(np.mean((answer - self.later["level"]) ** 2)))
        places = self.later["grade"].map({"high": 0, "low": 1, "mean": 2})
        return float(-np.mean(np.log(np.maximum(answer[np.arange(len(places)), places], 1e-9))))


# Networks learn numbers in the tests of given models; each question here costs them seconds.
pytestmark = pytest.mark.parametrize(
    ("framework", "question"),
    [(framework, question) for framework, questions in QUESTIONS.items() for question in questions],
)


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Story]:
    @functools.cache
    def once(framework: str) -> Story:
        return Story(find_environment(FRAMEWORKS[framework][0], tmp_path_factory.mktemp(framework)), framework)

    return once


@pytest.fixture
def story(stories: Callable[[str], Story], framework: str) -> Story:
    return stories(framework)


def test_a_model_from_scratch_is_far_better_than_the_mean_of_its_target(story: Story, question: str) -> None:
    first = story.cell.result(f"{question}-first")
    table = rows(600, day=0, seed=1)
    bar = table["level"].std() if question == "regression" else np.log(3)
    assert first["start"] == "scratch"
    assert first["loss"] < 0.6 * bar


def test_a_model_fine_tuned_with_later_rows_is_better_on_still_later_ones(story: Story, question: str) -> None:
    second = story.cell.result(f"{question}-second")
    assert second["start"] == "given"
    assert second["start_loss"] > second["loss"]
    assert story.loss(question, "new") < story.loss(question, "old")


def test_the_model_comes_back_in_the_format_it_came_in(story: Story, question: str) -> None:
    first, second = (story.cell.result(f"{question}-{name}") for name in ("first", "second"))
    assert first["model"] == second["model"] == story.file
    assert first["format"] == second["format"]


def test_the_same_rows_and_seed_give_the_same_answers(story: Story, question: str) -> None:
    np.testing.assert_array_equal(story.answers(question, "old"), story.answers(question, "same"))


def test_every_row_is_answered_also_those_with_gaps_and_towns_never_seen(story: Story, question: str) -> None:
    answers = story.answers(question, "new")
    assert len(answers) == len(story.later)
    assert np.isfinite(answers).all()
    if question == "multiclass":
        np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-6)


def test_the_graph_gives_the_answers_of_the_model_in_another_process(story: Story, question: str) -> None:
    graph = story.cell.result(f"{question}-graph")
    folder = story.cell.folder / f"{question}-graph"
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    (only,) = session.get_inputs()
    preprocessing = read_preprocessing(story.given(question, "second")["preprocessing"])
    columns = [Column(name, kind) for name, kind in preprocessing.kinds()]  # type: ignore[arg-type]
    matrix = preprocessing.matrix(arrays_of(story.later, columns))
    (answers,) = session.run(None, {only.name: matrix})
    expected = story.answers(question, "new")
    np.testing.assert_allclose(answers.reshape(expected.shape), expected, rtol=1e-3, atol=1e-4)
    assert graph["parity"] <= graph["tolerance"]
    assert prove((folder / "model.onnx").read_bytes(), (folder / "probe.npz").read_bytes(), where=story.framework) > 0
    assert graph["checked_rows"] == len(story.later)
    with np.load(folder / "probe.npz", allow_pickle=False) as probe:
        (again,) = session.run(None, {only.name: probe[f"in_{only.name}"]})
        np.testing.assert_allclose(again, probe["out_0"], rtol=1e-6, atol=1e-6)
