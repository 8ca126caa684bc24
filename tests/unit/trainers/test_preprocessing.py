"""What rows become: fitted on training rows alone, kept as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from springtide.sdk import Params, Refusal
from springtide.trainers.preprocessing import (
    Category,
    Date,
    Number,
    fit,
    parse_preprocessing,
    plain,
    read_preprocessing,
)
from springtide.trainers.table import arrays_of, label, read_rows, read_target
from springtide.trainers.task import Column, Task

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = (Column("town", "category"), Column("day", "date"), Column("rain", "number"))


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "town": ["Buy", None, "Galich", "Buy"],
            "day": pd.to_datetime(["2020-01-01", "2020-01-08", None, "2020-01-15"]),
            "rain": [1.0, np.nan, 3.0, np.inf],
            "level": [1.0, 2.0, 3.0, 4.0],
            "grade": ["low", "high", "low", "low"],
        }
    )


def task(tmp_path: Path, **keys: object) -> Task:
    said = {"question": "regression", "target": "level"} | keys
    return Task("train", data=tmp_path / "rows", out=tmp_path, columns=COLUMNS, **said)  # type: ignore[arg-type]


def test_a_number_is_scaled_and_its_gaps_are_filled_and_told() -> None:
    values = np.array([1.0, np.nan, 3.0, 5.0])
    scaled, gaps = Number.fit("rain", values).columns(values)
    assert scaled.mean() == pytest.approx(0)
    assert scaled.std() == pytest.approx(1)
    assert scaled[1] == scaled[2]  # the median
    assert gaps.tolist() == [False, True, False, False]


@pytest.mark.parametrize("values", [[2.0, 2.0], [np.nan, np.nan]])
def test_a_number_that_never_changes_is_zero(values: list[float]) -> None:
    scaled, *_ = Number.fit("rain", np.array(values)).columns(np.array(values))
    assert scaled.tolist() == [0, 0]


def test_levels_that_training_never_saw_and_gaps_are_other() -> None:
    town = Category.fit("town", np.array(["Buy", "Galich", "Buy", None], dtype=object))
    columns = np.column_stack(town.columns(np.array(["Buy", "Moscow", None, "Galich"], dtype=object)))
    assert columns.tolist() == [[True, False, False], [False, False, True], [False, False, True], [False, True, False]]


def test_a_truth_is_one_level_however_it_was_spelled_also_in_a_preprocessing_of_old() -> None:
    (truths,) = arrays_of(pd.DataFrame({"flag": ["True", "FALSE", None, True]}), [Column("flag", "category")]).values()
    assert truths.tolist() == ["true", "false", None, "true"]
    for category in (Category.fit("flag", truths), Category("flag", ("False", "True"))):
        false, true, other = category.columns(truths)
        assert (false.tolist(), true.tolist()) == ([False, True, False, False], [True, False, False, True])
        assert other.tolist() == [False, False, True, False]


def test_only_the_most_frequent_levels_have_a_column() -> None:
    values = np.array([str(n) for n in range(300) for _ in range(1 + (n < 3))], dtype=object)
    town = Category.fit("town", values)
    assert len(town.levels) == 100
    assert {"0", "1", "2"} <= set(town.levels)


def test_a_date_becomes_a_trend_and_angles_and_a_gap_is_the_beginning() -> None:
    days = np.array(["2020-01-06", "NaT", "2020-01-13"], dtype="datetime64[us]")
    trend, week_sin, week_cos, *year = Date.fit("day", days).columns(days)
    assert trend.tolist() == [0, 0, 1]
    assert week_sin[0] == pytest.approx(week_sin[2])  # a week apart
    assert week_cos[0] == pytest.approx(week_cos[2])
    assert len(year) == 2  # no hours: there is no time of day


def test_what_is_written_is_what_is_read_and_gives_the_same_numbers(tmp_path: Path) -> None:
    arrays = arrays_of(table(), COLUMNS)
    first = fit(arrays, COLUMNS, question="binary", target="grade", classes=("высокий", "low"))
    first.write(tmp_path / "preprocessing.json")
    again = read_preprocessing(tmp_path / "preprocessing.json")
    assert again == first
    assert again.matrix(arrays).dtype == np.float32
    np.testing.assert_array_equal(again.matrix(arrays), first.matrix(arrays))


def test_later_rows_change_nothing_in_what_was_learned() -> None:
    rows = table()
    arrays = arrays_of(rows, COLUMNS)
    later = arrays_of(rows.assign(rain=99.0, town="Moscow"), COLUMNS)
    first = fit(arrays, COLUMNS, question="regression", target="level", classes=())
    width = first.matrix(arrays).shape[1]
    assert first.matrix(later).shape == (4, width)
    assert first == fit(arrays, COLUMNS, question="regression", target="level", classes=())


@pytest.mark.parametrize(
    "text", ["", "{}", '{"format": 2, "parts": [], "question": 1, "target": 1, "classes": [], "output": 1}']
)
def test_a_preprocessing_that_is_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(Refusal):
        read_preprocessing(tmp_path / "p.json")


@pytest.mark.parametrize(
    ("kind", "values"), [("number", ["1", "two"]), ("date", ["yesterday", "today"])], ids=["number", "date"]
)
def test_a_column_that_is_not_of_its_kind_is_refused_by_name(kind: str, values: list[str]) -> None:
    with pytest.raises(Refusal, match="column 'x'"):
        arrays_of(pd.DataFrame({"x": values}), [Column("x", kind)])  # type: ignore[arg-type]


def test_a_target_of_numbers_is_read_as_it_is(tmp_path: Path) -> None:
    target, classes = read_target(table(), task(tmp_path), None)
    assert target.tolist() == [1, 2, 3, 4]
    assert classes == ()


def test_classes_are_the_labels_in_order_or_those_that_the_model_knows(tmp_path: Path) -> None:
    asked = task(tmp_path, question="binary", target="grade")
    assert read_target(table(), asked, None)[1] == ("high", "low")
    places, classes = read_target(table(), asked, ("low", "high"))
    assert classes == ("low", "high")
    assert places.tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize(
    ("change", "keys", "what"),
    [
        ({"level": np.nan}, {}, "4 rows have no target"),
        ({"level": np.inf}, {}, "infinite"),
        ({"level": "x"}, {}, "holds no numbers"),
        ({"grade": "low"}, {"question": "binary", "target": "grade"}, "all rows have one class: 'low'"),
        ({"grade": list("abca")}, {"question": "binary", "target": "grade"}, "3 classes are not two"),
    ],
)
def test_a_target_that_nothing_can_be_learned_from_is_refused(
    tmp_path: Path, change: dict[str, object], keys: dict[str, object], what: str
) -> None:
    with pytest.raises(Refusal, match=what):
        read_target(table().assign(**change), task(tmp_path, **keys), None)


def test_a_class_that_the_model_does_not_know_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="does not know: high"):
        read_target(table(), task(tmp_path, question="binary", target="grade"), ("low", "mean"))


def test_rows_without_a_wanted_column_are_refused_with_those_that_they_have(tmp_path: Path) -> None:
    table().to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(Refusal, match=r"no columns .*wind") as refused:
        read_rows(tmp_path / "rows.parquet", ["rain", "wind"])
    assert "town, day, rain" in refused.value.do


@pytest.mark.parametrize("data", [b"", b"a,b\n1,2"])
def test_what_is_no_parquet_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "rows.parquet").write_bytes(data)
    with pytest.raises(Refusal, match="cannot be read as Parquet"):
        read_rows(tmp_path / "rows.parquet", [])


def test_labels_of_one_value_in_several_types_are_one() -> None:
    assert {label(value) for value in (1, 1.0, np.int8(1), "1")} == {"1"}


def test_params_of_a_task_are_empty_where_none_were_sent(tmp_path: Path) -> None:
    assert dict(task(tmp_path).params) == dict(Params({}))


def written(**keys: Any) -> str:
    parts = [{"kind": "number", "name": "rain", "fill": 1, "mean": 0.5, "scale": 2, "gaps": True}]
    said = {"format": 1, "question": "regression", "target": "level", "parts": parts, "classes": [], "output": "mean"}
    return json.dumps(said | keys)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{" + " " * 10_000_000 + "}",
        "[]",
        written(parts=[]),
        written(parts=[{"kind": "number", "name": "rain", "fill": "1", "mean": 0, "scale": 1, "gaps": True}]),
        written(parts=[{"kind": "number", "name": "rain", "fill": True, "mean": 0, "scale": 1, "gaps": True}]),
        written(parts=[{"kind": "number", "name": "rain", "fill": float("nan"), "mean": 0, "scale": 1, "gaps": True}]),
        written(parts=[{"kind": "category", "name": "town", "levels": [1]}]),
        written(parts=[{"kind": "category", "name": ["town"], "levels": []}]),
        written(parts=[{"kind": ["plain"], "name": "rain"}]),
        written(classes=[{}]),
        written(target=3),
        written(question="what"),
        written(output="what"),
    ],
)
def test_preprocessing_that_somebody_made_up_is_refused_before_a_row_is_asked(text: str) -> None:
    with pytest.raises(Refusal):
        parse_preprocessing(text)


def test_the_width_is_that_of_the_matrix() -> None:
    arrays = arrays_of(table(), COLUMNS)
    fitted = fit(arrays, COLUMNS, question="regression", target="level", classes=())
    assert fitted.width() == fitted.matrix(arrays).shape[1]
    assert plain(["a", "b"], question="regression", target="level", classes=()).width() == 2


def test_a_column_that_has_become_text_is_refused_by_its_name() -> None:
    learned = fit(
        {"size": np.array([1.0, 2.0])}, [Column("size", "number")], question="regression", target="sold", classes=()
    )
    with pytest.raises(Refusal, match="column 'size' holds texts, and the model has learned from numbers"):
        learned.matrix({"size": np.array(["1", "two"], dtype=object)})
