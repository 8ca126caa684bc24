"""``springtide jobs`` and ``springtide runs`` where no worker is needed: what they print, and how they exit."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from springtide.app import jobs
from springtide.app.home import Home, open_home, read_settings
from springtide.app.queue import cancel
from springtide.cli.main import main
from springtide.domain.clock import utc_now
from springtide.domain.job import JobParams
from springtide.domain.run import Failure, Step

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home without models, in the present folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "springtide.toml").write_text("")
    (tmp_path / "sales.csv").write_bytes(b"size,sold\n1,2\n")
    return open_home(read_settings(tmp_path / "springtide.toml", environ={}))


@pytest.fixture
def job(home: Home) -> str:
    """A job that waits."""
    return jobs.submit_job(home, JobParams(target="sold"), {"data": jobs.Sent.of("sales.csv", b"size,sold\n1,2\n")}).id


def exit_code(*args: str) -> int | str | None:
    with pytest.raises(SystemExit) as left:
        main(args)
    return left.value.code


@pytest.mark.parametrize(
    ("args", "stop"), [(("jobs", "status", "--follow"), "jobs cancel"), (("runs", "--follow"), "cancel")]
)
def test_ctrl_c_ends_the_following_and_not_the_job(
    home: Home,
    job: str,
    args: tuple[str, ...],
    stop: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def press_ctrl_c(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", press_ctrl_c)
    assert exit_code(*args, job) == 130
    told = capsys.readouterr().err
    assert f"no longer followed: {args[0].removesuffix('s')} {job} goes on; `springtide {stop} {job}` stops it" in told
    assert home.registry.run(job).state == "queued"


def test_following_a_job_that_does_not_succeed_exits_with_1(
    home: Home, job: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["jobs", "status", job])
    told = capsys.readouterr().out
    assert f"job {job} of model {job} waits" in told
    assert "no worker lives" in told
    cancel(home, job, by="hand")
    assert exit_code("jobs", "status", job, "--follow") == 1
    assert f"job {job} of model {job} has been cancelled" in capsys.readouterr().out
    main(["jobs", "status", job])


def test_what_the_check_has_noted_is_printed(home: Home, job: str, capsys: pytest.CaptureFixture[str]) -> None:
    check = Step("check", utc_now(), 0.1, {"notes": ["3 rows without a target were left out"]})
    home.registry.change_run(job, lambda run: replace(run, steps=(check,)))
    main(["jobs", "status", job])
    assert "note: 3 rows without a target were left out\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "args",
    [("jobs", "logs"), ("jobs", "status"), ("jobs", "list"), ("runs", "--follow"), ("show",), ("runs",)],
    ids=["logs", "status", "list", "follow", "show", "runs"],
)
def test_what_a_script_says_does_nothing_to_the_terminal(
    home: Home, job: str, args: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    clear = "all is well \x1b[2J\x9b2J\x07"
    home.registry.add_event(job, "log", {"level": "info", "line": clear}, utc_now())
    home.registry.add_event(job, "report", {clear: clear}, utc_now())
    check = Step("check", utc_now(), 0.1, {"notes": [clear]})
    home.registry.end_run(
        job, lambda run: replace(run, state="failed", steps=(check,), failure=Failure(clear, clear, clear))
    )
    with suppress(SystemExit):  # where it was followed, as it has failed
        main([*args, *([] if args[-1] in ("list", "runs") else [job])])
    told = capsys.readouterr()
    assert "all is well  [2J 2J" in told.out + told.err
    assert not {"\x1b", "\x9b", "\x07"} & set(told.out + told.err)


@pytest.mark.parametrize(
    ("name", "framework"),
    [("tensorflow", "tensorflow"), ("pytorch", "pytorch"), ("boosting", "lightgbm"), ("scikit-learn", "scikit-learn")],
)
def test_the_command_after_a_new_script_names_the_framework(
    home: Home, name: str, framework: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["jobs", "new", name])
    assert f"--framework {framework} --script train.py" in capsys.readouterr().out
    assert exit_code("jobs", "new", name) == 1
    assert "Conflict: train.py is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{seed: 1}", "--params is no JSON"),
        ('{"seed": NaN}', "NaN is no number of JSON"),
        ("[1]", "no object"),
        ('{"sede": 1}', "key 'sede' is not known"),
    ],
)
def test_params_that_cannot_be_read_are_refused_in_words(
    home: Home, text: str, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("jobs", "submit", "sales.csv", "--target", "sold", "--params", text) == 1
    assert what in capsys.readouterr().err
    assert jobs.list_jobs(home) == []


def test_requirements_may_come_through_a_pipe(home: Home) -> None:
    main(["jobs", "new", "boosting"])
    reading, writing = os.pipe()
    os.write(writing, b"polars\n")
    os.close(writing)
    asked = ["jobs", "submit", "sales.csv", "--target", "sold", "--script", "train.py"]
    main([*asked, "--requirements", f"/dev/fd/{reading}"])
    os.close(reading)
    (sent,) = jobs.list_jobs(home)
    assert home.run_files.get(sent["id"], "requirements") == b"polars\n"
    assert (sent["verdict"], sent["better"], sent["metrics"], sent["outputs"]) == (None, None, {}, [])
