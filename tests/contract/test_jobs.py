"""Jobs through all their steps, in a real sandbox with the environment of LightGBM and scikit-learn."""

from __future__ import annotations

import io
import math
import pickle
import re
import tempfile
import time
import zipfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from tests import killing
from tests.cells import survivors
from tests.engines import need_bubblewrap
from tests.environments import FOLDER, find_environment

from springtide.app import jobs, queue
from springtide.app.answers import Answers
from springtide.app.home import Home, open_home, read_settings
from springtide.app.job_steps import steps_of_job
from springtide.domain.clock import utc_now
from springtide.domain.errors import BadRows, ComputeFailed, Conflict, ModelRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from springtide.domain.model import Version

START = datetime(2024, 1, 1, tzinfo=UTC)
QUICK = {"target": "sold", "time": "day", "framework": "lightgbm", "budget_s": 3}
SCRIPT = """\
import lightgbm

def train(data, model_path, out_path, params, report):
    report(progress=0.5, note="half way")
    rows = lightgbm.Dataset(data[["size"]], data[params["target"]])
    lightgbm.train({"verbose": -1, "num_threads": 1}, rows, 20).save_model(out_path / "model.txt")

def predict(data, model_path):
    return lightgbm.Booster(model_file=str(model_path)).predict(data[["size"]])
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose jobs run under bubblewrap."""
    need_bubblewrap()
    folder = tmp_path_factory.mktemp("jobs")
    find_environment("boosting", folder)
    limits = 'time = "60s"\nmemory = "1500MB"\ndisk = "50MB"\noutput = "1MB"\n'
    sandbox = f'[sandbox]\nengine = "bubblewrap"\nenvironments = "{FOLDER}"\n{limits}'
    (folder / "springtide.toml").write_text(f'{sandbox}[jobs]\ndeliver = ["./models"]\n')
    (folder / "models").mkdir()
    return open_home(read_settings(folder / "springtide.toml", environ={}))


def sales(first: int, last: int, *, slope: float = 3.0) -> bytes:
    """Days of sales: more where the shop is larger, with the week and the season, and noise that is always the same."""
    noise = np.random.default_rng(1).normal(size=2000)
    lines = ["day,town,size,sold"]
    for number in range(first, last):
        size = 10 + number * 7 % 13
        sold = slope * size + 5 * math.sin(number / 7) + (4 if number % 2 else 0) + noise[number]
        lines.append(f"{START + timedelta(days=number):%Y-%m-%d},t{number % 2},{size},{sold:.3f}")
    return "\n".join(lines).encode()


def work_off(
    home: Home, data: bytes, *, model: jobs.Sent | None = None, script: str | None = None, **params: Any
) -> tuple[dict[str, Any], Version]:
    """Send a job and do its steps, each by an object that knows only the record; its results and its version."""
    sent = {"data": jobs.Sent.of("sales.csv", data)}
    if model is not None:
        sent["model"] = model
    if script is not None:
        sent["script"] = jobs.Sent.of("train.py", script.encode())
    job = jobs.submit_job(home, jobs.read_params(msgspec.json.encode({**QUICK, **params})), sent)
    run = home.registry.run(job.id)
    results: dict[str, Any] = {}
    folder = home.settings.home.store
    made = partial(steps_of_job, home, run)
    try:
        for number, name in enumerate(made(_folder(folder, job.id, 0), results).names, start=1):
            steps = made(_folder(folder, job.id, number), msgspec.json.decode(msgspec.json.encode(results)))
            result: dict[str, Any] = {}
            steps.take(name, result, progress=lambda _advance: None, now=utc_now)
            results[name] = result
    except BaseException:
        queue.cancel(home, job.id, by="a test")  # so that no worker of another test takes it up
        raise
    number = results["publish"]["version"]
    home.registry.end_run(job.id, lambda run: replace(run, state="succeeded", version=number))
    return results, home.registry.version(run.model, number)


def _folder(store: str, job: str, number: int) -> Path:
    folder = Path(store) / "scratch" / f"{job}-{number}"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="module")
def first(home: Home) -> tuple[dict[str, Any], Version]:
    return work_off(home, sales(0, 400), name="sales")


def test_a_table_alone_becomes_a_model_that_beats_the_constants_on_later_rows(
    first: tuple[dict[str, Any], Version],
) -> None:
    results, version = first
    assert version.verdict.promote
    assert {one.rival for one in version.verdict.comparisons} == {"mean", "recent-mean"}
    assert all(one.gain > 0.2 for one in version.verdict.comparisons)
    assert results["check"]["training_rows"] + results["check"]["judging_rows"] == 400
    assert results["check"]["trained_until"] < results["check"]["judged_until"]
    assert results["export"]["parity"] < 1e-4
    assert {"model.txt", "model.onnx", "probe.npz", "preprocessing.json"} <= set(version.manifest.files)


def test_what_a_job_made_is_served_to_rows_of_the_table(home: Home, first: tuple[dict[str, Any], Version]) -> None:
    rows = [{"day": "2025-02-01", "town": "t1", "size": size} for size in (10, 22)]
    answer = Answers(home).predict("sales", rows)
    small, large = answer["columns"]["sold"]
    assert 20 < small < 50 < large < 85
    assert Answers(home).metadata("sales")["inputs"][0]["shape"][1] == first[0]["export"]["width"]


def test_the_version_that_serves_is_gone_on_with_and_judged_beside_on_rows_that_it_has_not_seen(
    home: Home, first: tuple[dict[str, Any], Version]
) -> None:
    results, version = work_off(home, sales(0, 600, slope=4.0), name="sales", judge=0.5)
    assert results["train"]["start"] == "sales@1"
    assert results["check"]["trained_until"] >= first[0]["check"]["trained_until"]
    champion = next(one for one in version.verdict.comparisons if one.kind == "champion")
    assert champion.rival == "sales@1"
    assert champion.gain > 0  # prices have risen, and only the new one has seen it


def test_the_archive_that_was_given_back_is_a_model_for_a_later_job(
    home: Home, first: tuple[dict[str, Any], Version]
) -> None:
    name, archive = jobs.model_file(home, first[1].manifest.run)
    with archive:
        results, version = work_off(home, sales(300, 700, slope=4.0), model=jobs.Sent(name, archive), framework=None)
    assert results["train"]["start"] == "given"
    assert results["predict"]["given"] == "judged"
    given = next(one for one in version.verdict.comparisons if one.rival == "the given model")
    assert given.gain > 0


def test_nothing_is_promoted_where_the_one_that_serves_cannot_be_asked(home: Home) -> None:
    first, _ = work_off(home, sales(0, 300), name="renamed")
    assert first["publish"]["action"] == "promote"
    other = sales(0, 600).replace(b"size", b"area")
    results, version = work_off(home, other, name="renamed")
    assert results["train"]["start"] == "scratch"
    assert "renamed@1 reads size, which this table does not have" in results["check"]["notes"][-1]
    assert results["predict"]["champion"].startswith("left out: ")
    assert not version.verdict.promote
    assert "renamed@1 could not answer these rows" in version.verdict.reason
    assert (results["publish"]["action"], results["publish"]["serving"]) == ("keep", 1)
    entry = Answers(home).promote("renamed", version.number, by="anna")
    assert (entry.by, entry.serving) == ("anna", version.number)
    assert "promoted by hand against the verdict" in str(entry.warning)


def test_without_times_nothing_goes_on_from_what_may_have_seen_the_rows_that_judge(home: Home) -> None:
    work_off(home, sales(0, 300), name="untimed", time=None, features=["size"])
    results, _ = work_off(home, sales(0, 400), name="untimed", time=None, features=["size"])
    assert results["train"]["start"] == "scratch"
    assert results["predict"]["champion"] == "judged"
    assert "nobody knows whether untimed@1 has seen the rows that judge" in results["check"]["notes"][-1]


def test_a_model_that_was_made_without_times_is_not_gone_on_with_when_times_are_named(home: Home) -> None:
    work_off(home, sales(0, 400), name="timed-later", time=None, features=["size"])
    results, version = work_off(home, sales(0, 400), name="timed-later", features=["size"])
    assert results["train"]["start"] == "scratch"
    assert "timed-later@1 has seen the rows that judge: trained from scratch" in results["check"]["notes"][-1]
    assert "timed-later@1 may have seen these rows, which helps it and not the new model" in version.verdict.reason


def test_rows_without_times_neither_add_to_evidence_nor_end_it(home: Home) -> None:
    _, timed = work_off(home, sales(0, 300), name="clocks", features=["size"])
    _, untimed = work_off(home, sales(0, 400), name="clocks", time=None, features=["size"])
    _, again = work_off(home, sales(0, 400), name="clocks", judge=0.5, features=["size"])
    assert timed.verdict.promote
    assert timed.verdict.evidence is not None
    assert untimed.verdict.evidence == timed.verdict.evidence | {"rivals": {}}  # of a new reign
    assert again.verdict.evidence is not None
    assert again.verdict.evidence["counted_until"] == timed.verdict.evidence["counted_until"] + 100 * 86_400
    assert {one.blocks for one in again.verdict.comparisons} == {100}


def test_evidence_without_times_cannot_be_asked_for(home: Home) -> None:
    with pytest.raises(BadRows, match="the rows have no times"):
        work_off(home, sales(0, 200), time=None, rule="anytime")


def test_a_job_does_not_go_on_from_a_model_of_another_kind(
    home: Home, first: tuple[dict[str, Any], Version], tmp_path: Path
) -> None:
    (tmp_path / "weights").write_bytes(b"0")
    of_another = replace(first[1].manifest, model="old", task="forecast", run="r1", files={})
    version = home.registry.publish(of_another, tmp_path, first[1].verdict)
    said: Any = {"run": "r1", "by": "gate", "reason": "a test", "at": utc_now(), "warning": None}
    home.registry.promote("old", version.number, expected=None, **said)
    with pytest.raises(Conflict, match="old@1 is no model of a table"):
        work_off(home, sales(0, 200), name="old")


def test_a_given_model_of_other_columns_is_refused_in_words(home: Home, first: tuple[dict[str, Any], Version]) -> None:
    name, archive = jobs.model_file(home, first[1].manifest.run)
    other = sales(0, 300).replace(b"size", b"area")
    with archive, pytest.raises(ModelRefused, match="there is no column 'size', which the model reads"):
        work_off(home, other, model=jobs.Sent(name, archive), framework=None)


def test_a_table_sorted_by_its_target_is_told_of(home: Home) -> None:
    rows = "\n".join(f"{number % 7},{'ab'[number > 80]}" for number in range(200))
    results, _ = work_off(home, f"size,kind\n{rows}".encode(), target="kind", time=None)
    assert "all 40 rows that judge are 'b': is the table sorted by its target?" in results["check"]["notes"][0]


def test_a_script_ends_a_minute_after_its_budget_at_the_latest(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("springtide.pipeline.jobs.steps.GRACE_S", 2.0)
    script = "import time\ndef train(data, model_path, out_path, params, report):\n    time.sleep(60)\n"
    with pytest.raises(ComputeFailed, match=r"out of time \(more than 3 s\)"):
        work_off(home, sales(0, 200), script=script, budget_s=1)


def test_a_script_trains_and_answers_and_what_it_reports_is_told_as_its_own(home: Home) -> None:
    results, version = work_off(home, sales(0, 400), script=SCRIPT)
    assert results["train"]["predicted_by"] == "script"
    assert results["export"]["onnx"] is None
    assert "no ONNX graph, so no answers over HTTP" in results["export"]["notes"][0]
    assert version.verdict.promote
    told = [event.body for event in home.registry.events(version.manifest.run) if event.kind == "report"]
    assert any(one.get("note") == "half way" for one in told)


GREEDY = """\
import lightgbm

def train(data, model_path, out_path, params, report):
    rows = lightgbm.Dataset(data[["size"]], data[params["target"]])
    lightgbm.train({"verbose": -1, "num_threads": 1}, rows, 21).save_model(out_path / "model.txt")

def predict(data, model_path):
    model = lightgbm.Booster(model_file=str(model_path))
    if model.num_trees() == 20:
        bytearray(4_000_000_000)
    return model.predict(data[["size"]])
"""


def test_a_rival_that_passes_its_limits_is_left_out_and_nothing_is_promoted(home: Home) -> None:
    _, of_20_trees = work_off(home, sales(0, 200), script=SCRIPT)
    given = jobs.Sent.of("model.txt", home.registry.read(of_20_trees, "model.txt"))
    results, version = work_off(home, sales(0, 400), model=given, script=GREEDY)
    assert results["predict"]["new"] == "judged"
    assert results["predict"]["given"].startswith("left out: it was stopped: out of memory (more than 1.50 GB)")
    assert not version.verdict.promote
    assert "the given model could not answer these rows" in version.verdict.reason


def test_a_model_is_put_where_the_settings_allow_it(home: Home) -> None:
    place = home.settings.jobs.deliver[0]
    results, version = work_off(home, sales(0, 200), deliver=place)
    (delivered,) = Path(place).iterdir()
    assert results["deliver"] == {"to": str(delivered), "bytes": delivered.stat().st_size}
    assert delivered.name == f"{version.manifest.run}-{version.model}-1.zip"
    with zipfile.ZipFile(delivered) as archive:
        assert sorted(archive.namelist()) == sorted(version.manifest.files)


PICKLED = """
import socket
print("the pickle is open")
try:
    open({path!r}, "w").close()
except OSError as error:
    print("it could not write:", error)
try:
    socket.create_connection(("1.1.1.1", 53), 2)
except OSError as error:
    print("it could not connect:", error)
"""


class Hostile:
    """A pickle that writes a file and opens a connection when it is opened."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, (PICKLED.format(path=self.path),))


def test_a_hostile_pickle_is_opened_in_the_sandbox_only(home: Home, tmp_path: Path) -> None:
    mark = tmp_path / "it-ran"
    model = jobs.Sent.of("model.joblib", pickle.dumps(Hostile(str(mark))))
    with pytest.raises(ModelRefused, match="estimator"):
        work_off(home, sales(0, 200), model=model, framework=None)
    assert not mark.exists()
    log = "\n".join(jobs.log_of(home, jobs.list_jobs(home)[0]["id"]))
    assert re.search("the pickle is open.*it could not write: .*it could not connect: ", log, re.DOTALL), log


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({"../../outside.txt": b"x", "model.txt": b"x"}, "which leads out of it"),
        ({"model.txt": bytes(400_000_000)}, "unpacks to 381 MiB"),
    ],
    ids=["leads out", "a bomb"],
)
def test_an_archive_that_leads_out_or_is_a_bomb_is_refused_before_anything_runs(
    home: Home, files: dict[str, bytes], what: str
) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with pytest.raises(ModelRefused, match=what):
        work_off(home, sales(0, 200), model=jobs.Sent.of("model.zip", packed.getvalue()), framework=None)


@pytest.mark.parametrize(
    ("lines", "error", "what"),
    [
        ("x = bytearray(4_000_000_000)", ComputeFailed, "out of memory"),
        ("open(out_path / 'big', 'wb').write(bytes(200_000_000))", Exception, "disk|large|space"),
        (
            "print('x' * 100 + chr(10), end='') or [print('x' * 1000) for _ in range(10000)]",
            ComputeFailed,
            "too much output",
        ),
        ("import os; os.symlink('/etc/passwd', out_path / 'model.txt')", ModelRefused, "links"),
        ("import socket; socket.create_connection(('1.1.1.1', 53), 2)", ModelRefused, "unreachable|denied|permitted"),
        ("open('/etc/shadow').read()", ModelRefused, "shadow"),
        ("import os; os._exit(0)", ComputeFailed, "left no word"),
    ],
    ids=["allocates", "fills the disk", "prints", "links", "connects", "reads the host", "leaves without a word"],
)
def test_a_script_that_goes_too_far_fails_with_its_reason(home: Home, lines: str, error: Any, what: str) -> None:
    script = f"def train(data, model_path, out_path, params, report):\n    {lines}\n"
    with pytest.raises(error) as failed:
        work_off(home, sales(0, 100), script=script)
    assert re.search(what, str(failed.value)), failed.value


def test_nothing_of_a_job_lives_or_lies_about_when_it_was_cancelled(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    script = """
def train(data, model_path, out_path, params, report):
    import time
    (out_path / "big").write_bytes(bytes(20_000_000))
    print("asleep", flush=True)
    time.sleep(600)
"""
    sent = {"data": jobs.Sent.of("sales.csv", sales(0, 100)), "script": jobs.Sent.of("train.py", script.encode())}
    with killing.Workers(Path(home.settings.home.store).parent, count=1):
        job = jobs.submit_job(home, jobs.read_params(msgspec.json.encode(QUICK)), sent)
        wait_until(lambda: "asleep" in jobs.log_of(home, job.id), seconds=60)
        (cell,) = (folder for folder in tmp_path.iterdir() if (folder / "work").is_dir())
        assert survivors(cell / "work")
        queue.cancel(home, job.id, by="a test")
        wait_until(lambda: home.registry.run(job.id).state == "cancelled", seconds=2)
        assert survivors(cell / "work") == []
        assert list(tmp_path.glob("springtide-*")) == []


def wait_until(true: Callable[[], bool], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_of_a_script_that_prints_without_measure_the_first_lines_are_kept_and_the_last(home: Home) -> None:
    script = """
def train(data, model_path, out_path, params, report):
    for number in range(26_000):
        print(number)
    raise ValueError("at last")
"""
    with pytest.raises(ModelRefused, match="at last"):
        work_off(home, sales(0, 100), script=script)
    printed = jobs.log_of(home, home.registry.jobs(1)[0].id)
    assert len(printed) < 20_010
    assert printed[:1] == ["0"]
    assert printed.index("9000") == 9000
    assert "25999" in printed
    assert any("lines are left out" in line for line in printed)
    assert any("at last" in line for line in printed[-20:])


FORGED = """\
import json, os, pathlib, sys
def train(data, model_path, out_path, params, report):
    (pathlib.Path("/work/0/model.txt")).write_text("tree\\nversion=v4\\n")
    told = {told!r}
    pathlib.Path("/work/0/result.json").write_text(told if isinstance(told, str) else json.dumps(told))
    os._exit(0)
"""
GENUINE = {
    "model": "model.txt",
    "format": "lightgbm",
    "framework": "lightgbm",
    "start": "scratch",
    "predicted_by": "springtide",
    "classes": [],
    "rows": 80,
    "seconds_in_all": 1.0,
}


@pytest.mark.parametrize(
    ("told", "what"),
    [
        ({}, "missing required field"),
        ('{"model": ' + "[" * 50_000, "is not what the trainer writes"),
        (GENUINE | {"note": "x" * 200_000}, "more than 100,000 bytes"),
        (GENUINE | {"model": "../../etc/passwd"}, "is no file in the format"),
        (GENUINE | {"format": "joblib", "framework": "scikit-learn", "model": "model.joblib"}, "missing"),
        (GENUINE | {"better": True}, "unknown field"),
        (GENUINE, "feature_name|model|LightGBM|booster"),  # as if it had trained: the model it left is none
    ],
    ids=["empty", "deep", "large", "leads out", "of a model that is not there", "says more", "like ours"],
)
def test_a_script_that_forges_its_result_and_leaves_is_refused_with_its_reason(
    home: Home, told: Any, what: str
) -> None:
    with pytest.raises(ModelRefused, match=what):
        work_off(home, sales(0, 100), script=FORGED.replace("{told!r}", repr(told)))


def test_a_script_that_wrote_a_result_and_then_failed_has_failed(home: Home) -> None:
    script = FORGED.replace("{told!r}", repr(GENUINE)).replace("os._exit(0)", "raise ValueError('at last')")
    with pytest.raises(ModelRefused, match="at last"):
        work_off(home, sales(0, 100), script=script)


def test_reports_that_cannot_be_read_are_lines_of_the_log(home: Home) -> None:
    script = f"def train(data, model_path, out_path, params, report):\n    print({chr(30) + chr(123)!r} + '\"x\":' + '[' * 50_000)\n    1 / 0\n"
    with pytest.raises(ModelRefused, match="division by zero"):
        work_off(home, sales(0, 100), script=script)
    assert any("[[[" in line for line in jobs.log_of(home, home.registry.jobs(1)[0].id))


@pytest.fixture
def impatient(home: Home) -> Home:
    """The same home, whose sandbox gives scripts four seconds."""
    short = home.settings.sandbox.model_copy(update={"time": timedelta(seconds=4)})
    return replace(home, settings=home.settings.model_copy(update={"sandbox": short}))


def test_a_budget_that_the_sandbox_would_end_is_refused_before_anything_is_trained(impatient: Home) -> None:
    with pytest.raises(BadRows, match=r"a training may take 3\.6 s here, and 4 s were asked for"):
        work_off(impatient, sales(0, 200), budget_s=4)


@pytest.mark.parametrize(
    ("lines", "error", "what"),
    [
        (
            "while True:\n        try:\n            os.fork()\n        except OSError:\n            pass",
            (ComputeFailed, ModelRefused),
            "out of time|out of memory",
        ),
        ("time.sleep(10**6)", ComputeFailed, "out of time"),
        ("[os.kill(pid, 9) for pid in (os.getppid(), os.getpid())]", (ComputeFailed, ModelRefused), "code|Kill|permit"),
    ],
    ids=["forks without end", "sleeps for ever", "kills its parent"],
)
def test_a_script_that_would_not_end_or_ends_others_ends_alone(
    impatient: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, error: Any, what: str
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    script = f"import os, time\ndef train(data, model_path, out_path, params, report):\n    {lines}\n"
    began = time.monotonic()
    with pytest.raises(error, match=what):
        work_off(impatient, sales(0, 100), script=script)
    assert time.monotonic() - began < 60
    assert survivors(tmp_path) == []
    assert list(tmp_path.glob("springtide-*")) == []
