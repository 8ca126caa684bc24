"""A finished run once more: the same, or what differs and why."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import polars as pl
import pytest
from onnx import numpy_helper
from tests.contract.test_pipeline import TABULAR, TASKS, bring, contents, damage, make_home, numbers, retrain

from springtide.app import worker
from springtide.app.environment import environment, threads_of
from springtide.domain.errors import Conflict, ModelRefused, NotFound, SettingsError
from springtide.pipeline import reproduction
from springtide.pipeline.differences import Finding

if TYPE_CHECKING:
    from springtide.app.home import Home
    from springtide.pipeline.reproduction import Reproduction


def reproduce(home: Home, run: str) -> Reproduction:
    return worker.reproduce(home, run, progress=lambda _advance: None, tasks=TASKS)


def finding(found: Reproduction, name: str) -> Finding:
    return next(one for one in (*found.results, *found.circumstances) if one.name == name)


def with_model(home: Home, **changes: Any) -> Home:
    """The same home, with other settings of its model."""
    model = home.model("m").model_copy(update=changes)
    return replace(home, settings=home.settings.model_copy(update={"models": {"m": model}}))


def of_another(home: Home, run: str, **manifest: Any) -> Reproduction:
    """The repetition of a run, had its manifest said something else."""
    past = reproduction.find_past(home.registry, run)
    version = replace(past.version, manifest=replace(past.version.manifest, **manifest))
    return reproduction.reproduce(
        replace(past, version=version),
        task=TASKS["tabular"],
        tables=home.lake.table,
        registry=home.registry,
        code=worker.code_version(),
        environment=environment(),
        progress=lambda _advance: None,
    )


def publish_copy(home: Home, run: str, **manifest: Any) -> None:
    """Another version with the files of the first, whose run is called ``copy`` and is not in the journal."""
    first = home.registry.version("m", 1)
    folder = home.registry.fetch(first, Path(home.settings.home.store) / "copy")
    copy = replace(first.manifest, **{"run": "copy", "files": {}, **manifest})
    number = home.registry.publish(copy, folder, first.verdict).number
    home.registry.save_run(replace(home.registry.run(run), id="copy", version=number))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """One finished run of the task that takes milliseconds."""
    found = make_home(tmp_path, TABULAR)
    bring(found, TABULAR, numbers(0, 400, slope=2.0))
    retrain(found)
    return found


@pytest.fixture
def run(home: Home) -> str:
    return home.registry.version("m", 1).manifest.run


def test_a_repetition_leaves_everything_as_it_is(home: Home, run: str, tmp_path: Path) -> None:
    before = contents(tmp_path)
    assert reproduce(home, run).same
    assert contents(tmp_path) == before


def test_rows_that_were_corrected_and_runs_that_came_since_change_nothing(home: Home, run: str) -> None:
    bring(home, TABULAR, numbers(0, 700, slope=-1.0).with_columns(pl.col("target") + 1))
    second = retrain(home)
    third = retrain(with_model(home, gate=home.model("m").gate.model_copy(update={"judge": timedelta(days=2)})))
    for one in (run, second.run.id, third.run.id):
        found = reproduce(home, one)
        assert found.same, found


def test_a_model_that_the_settings_no_longer_name_can_be_reproduced(home: Home, run: str) -> None:
    assert reproduce(replace(home, settings=home.settings.model_copy(update={"models": {}})), run).same


def test_rows_that_a_vacuum_took_are_missed_before_anything_is_trained(home: Home, run: str) -> None:
    bring(home, TABULAR, numbers(0, 400, slope=0.0))
    home.lake.table("t").vacuum(retention_hours=0)
    with pytest.raises(NotFound, match="files of this version are gone"):
        worker.reproduce(home, run, progress=_never, tasks=TASKS)


def _never(_advance: Any) -> None:
    raise AssertionError("trained")


def test_other_code_is_said_also_where_the_results_are_the_same(home: Home, run: str) -> None:
    found = of_another(home, run, code="0.0.9+abc")
    assert found.same
    assert "another code" in found.conclusion
    assert finding(found, "code").says.startswith("0.0.9+abc then, ")


def test_other_results_are_laid_first_to_the_code_then_to_libraries_and_machine(home: Home, run: str) -> None:
    manifest = home.registry.version("m", 1).manifest
    wrong = {**manifest.metrics, "mean": {**manifest.metrics["mean"], "rmse": 7.0}}
    found = of_another(home, run, metrics=wrong)
    assert [one.name for one in found.results if not one.same] == ["metrics"]
    assert "mean.rmse: 7.0 then" in finding(found, "metrics").says
    assert "libraries and machine are the same" in found.conclusion
    elsewhere = {**manifest.environment, "torch": "1.0"}
    found = of_another(home, run, metrics=wrong, environment=elsewhere)
    assert "most likely because of torch: 1.0 then" in found.conclusion
    found = of_another(home, run, metrics=wrong, environment=elsewhere, code="0.0.9+abc")
    assert "most likely because of the code: 0.0.9+abc then" in found.conclusion


def test_weights_that_are_not_what_the_run_made_are_found_out(home: Home, run: str, tmp_path: Path) -> None:
    files = home.registry.version("m", 1).manifest.files
    graph = tmp_path / "model.onnx"
    model = onnx.load(blob(home, "model.onnx"))
    slopes = model.graph.initializer[0]
    slopes.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(slopes) + np.array([0.25, 0.0]), slopes.name))
    onnx.save(model, graph)
    found = of_another(home, run, files={**files, "model.onnx": home.registry._blobs.put_file(graph)})
    assert [one.name for one in found.results if not one.same] == ["weights"]
    assert "1 of 2 arrays differ, the most slopes: by 0.25" in finding(found, "weights").says
    assert "the stored files are not those that it made" in found.conclusion


def test_a_stored_file_that_was_edited_in_place_is_refused_before_anything_is_trained(home: Home, run: str) -> None:
    damage(blob(home, "model.onnx"))
    with pytest.raises(ModelRefused, match="damaged"):
        worker.reproduce(home, run, progress=_never, tasks=TASKS)


def test_where_the_stored_files_are_gone_their_hashes_are_compared(home: Home, run: str) -> None:
    blob(home, "model.onnx").unlink()
    found = reproduce(home, run)
    assert found.same
    assert finding(found, "weights").says.startswith("the same model.onnx; stored files are gone")


def blob(home: Home, name: str) -> Path:
    (path,) = Path(home.settings.home.store).rglob(home.registry.version("m", 1).manifest.files[name])
    return path


def test_a_run_without_a_version_cannot_be_reproduced(home: Home) -> None:
    wrong = home.model("m").gate.model_copy(update={"baselines": ("no",)})
    with pytest.raises(SettingsError):
        retrain(with_model(home, gate=wrong))
    with pytest.raises(Conflict, match="failed: there is nothing to compare with"):
        reproduce(home, home.registry.runs("m", 1)[0].id)


def test_a_run_whose_seed_was_not_recorded_is_refused_rather_than_guessed(home: Home, run: str) -> None:
    publish_copy(home, run, settings={})
    with pytest.raises(NotFound, match="does not say with which seed"):
        reproduce(home, "copy")


def test_settings_that_this_code_does_not_know_are_named(home: Home, run: str) -> None:
    with pytest.raises(Conflict, match="not understood by this code") as caught:
        of_another(home, run, recipe={"target": "target", "wings": 2})
    assert "wings" in caught.value.where


def test_a_run_of_a_replay_is_refused_because_the_journal_does_not_tell_of_it(home: Home, run: str) -> None:
    publish_copy(home, run)
    with pytest.raises(Conflict, match="made by a replay of history"):
        reproduce(home, "copy")


def test_a_run_is_repeated_with_as_many_threads_as_it_had(home: Home) -> None:
    here = environment()
    with threads_of({"threads": 3, "blas_threads": 2}):
        run = retrain(home).run.id
    found = reproduce(home, run)
    assert found.same
    assert finding(found, "threads") == Finding("threads", same=True, says="3")
    assert finding(found, "blas_threads") == Finding("blas_threads", same=True, says="2")
    assert environment() == here
