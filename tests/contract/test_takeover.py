"""Every step of a run may be done by another process than the one before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.contract.test_pipeline import KINDS, TASKS, bring, make_home

from springtide.domain.clock import utc_now
from springtide.pipeline.steps import STEPS, Order, Steps
from springtide.registry.run_files import RunFilesOf

if TYPE_CHECKING:
    from pathlib import Path

    from tests.contract.test_pipeline import Kind

    from springtide.app.home import Home
    from springtide.domain.model import Version


def run_through(home: Home, run: str, folder: Path, *, together: bool) -> Version:
    """Do all steps by one object, or each by an object that knows only the record as JSON and the run's files."""
    settings = home.model("m")
    order, results = Order(run, "m", settings, ("a test",), "code"), {}
    steps = None
    for name in STEPS[1:]:
        if steps is None or not together:
            own = folder / name
            own.mkdir(parents=True)
            record: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(results))
            files = RunFilesOf(home.run_files, run)
            steps = Steps(order, TASKS[settings.task], home.lake.table, home.registry, own, None, files, record)
        result: dict[str, Any] = {}
        steps.take(name, result, progress=lambda _advance: None, now=utc_now)
        results[name] = result
    return home.registry.version("m", results["publish"]["version"])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.task)
def test_a_run_that_changes_hands_after_every_step_makes_the_version_of_one_that_does_not(
    kind: Kind, tmp_path: Path
) -> None:
    home = make_home(tmp_path, kind)
    bring(home, kind, kind.rows(0, 900))
    first = run_through(home, "whole", tmp_path / "whole", together=True)
    other = make_home(tmp_path / "other", kind)
    bring(other, kind, kind.rows(0, 900))
    second = run_through(other, "whole", tmp_path / "parts", together=False)
    assert {name: digest for name, digest in first.manifest.files.items() if name != "manifest.json"} == {
        name: digest for name, digest in second.manifest.files.items() if name != "manifest.json"
    }
    assert first.manifest.metrics == second.manifest.metrics
    assert first.verdict == second.verdict
