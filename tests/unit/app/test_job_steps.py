"""The steps of a job as a process opens them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from springtide.app import jobs
from springtide.app.home import open_home, read_settings
from springtide.app.job_steps import steps_of_job
from springtide.domain.errors import TooLarge
from springtide.domain.job import JobParams

if TYPE_CHECKING:
    from pathlib import Path


def test_a_table_may_take_as_much_memory_as_the_settings_say(tmp_path: Path) -> None:
    (tmp_path / "springtide.toml").write_text('[jobs]\nmax_unpacked = "1MB"\n')
    home = open_home(read_settings(tmp_path / "springtide.toml", environ={}))
    data = jobs.Sent.of("rows.csv", b"size,sold\n" + b"1,2\n" * 100_000)
    job = jobs.submit_job(home, JobParams("sold"), {"data": data})
    steps = steps_of_job(home, home.registry.run(job.id), tmp_path, {})
    with pytest.raises(TooLarge, match="more than 1,000,000 bytes"):
        _ = steps.at_hand.table
