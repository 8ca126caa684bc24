"""What a run tells of its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from springtide.app.home import open_home, read_settings
from springtide.domain.clock import utc_now
from springtide.domain.run import Run
from springtide.pipeline.recorder import Recorder, Silent

if TYPE_CHECKING:
    from pathlib import Path


def test_a_result_that_has_seconds_of_its_own_does_not_hide_how_long_the_step_took(tmp_path: Path) -> None:
    (tmp_path / "springtide.toml").write_text("")
    registry = open_home(read_settings(tmp_path / "springtide.toml", environ={})).registry
    run = Run("r1", "btc", "running", (), started=utc_now())
    registry.save_run(run)
    ticks = iter([0.0, 3.0])
    recorder = Recorder(run, registry, Silent(), timer=lambda: next(ticks, 3.0))
    with recorder.step("train") as result:
        result.update(seconds=0.1, step="a word of its own", rows=7)
    (begun, ended) = registry.events("r1")
    assert begun.body == {"step": "train"}
    assert ended.body == {"rows": 7, "step": "train", "seconds": 3.0}
    assert registry.run("r1").steps[0].result["seconds"] == 0.1
