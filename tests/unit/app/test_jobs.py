"""Jobs as they are sent, kept, followed and forgotten; what is done with them is another suite's."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr
from tests.receiver import receiving

from springtide.app import jobs, queue
from springtide.app.hand_over import deliver
from springtide.app.home import Home, open_home, read_settings
from springtide.app.sealing import unseal
from springtide.domain.clock import utc_now
from springtide.domain.errors import BadRows, Conflict, NotFound, NotReady, StoreFailed
from springtide.domain.job import JobParams
from springtide.registry.run_files import RunFiles

if TYPE_CHECKING:
    from pathlib import Path

DATA = jobs.Sent.of("sales.csv", b"size,sold\n1,2\n")
PARAMS = JobParams(target="sold", webhook=None)
SECRET = "hunter2-hunter2-hunter2"
BTC = """
[sources.candles]
kind = "simulator"
[models.btc]
task = "forecast"
table = "candles"
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_with(tmp_path, f'[jobs]\nsecret = "{SECRET}"\ndeliver = ["https://models.example/in/", "./models"]\n')


def home_with(folder: Path, section: str) -> Home:
    (folder / "springtide.toml").write_text(f"{section}{BTC}")
    return open_home(read_settings(folder / "springtide.toml", environ={}))


def test_a_job_waits_as_a_run_with_what_was_sent(home: Home) -> None:
    job = jobs.submit_job(home, PARAMS, {"data": DATA})
    run = home.registry.run(job.id)
    assert (run.state, run.kind, run.model) == ("queued", "job", job.id)
    assert home.run_files.get(job.id, "data") == b"size,sold\n1,2\n"
    told = jobs.find_job(home, job.id)
    assert (told["state"], told["files"]) == ("queued", {"data": "sales.csv"})
    assert [one["id"] for one in jobs.list_jobs(home)] == [job.id]


def test_the_same_key_is_the_same_job_and_other_data_under_it_is_refused(home: Home) -> None:
    first = jobs.submit_job(home, PARAMS, {"data": DATA}, key="week 7")
    again = jobs.submit_job(home, PARAMS, {"data": DATA}, key="week 7")
    assert again.id == first.id
    assert len(home.registry.runs(None)) == 1
    with pytest.raises(Conflict, match="was used for another job"):
        jobs.submit_job(home, PARAMS, {"data": jobs.Sent.of("sales.csv", b"size,sold\n1,3\n")}, key="week 7")
    assert len(home.registry.runs(None)) == 1


@pytest.mark.parametrize(
    "files",
    [
        {"data": jobs.Sent.of("sales.csv", b"size,sold\n1,2\nmodel Y")},
        {"data": jobs.Sent.of("sales.parquet", b"size,sold\n1,2\n"), "model": jobs.Sent.of("m.onnx", b"Y")},
        {"data": DATA, "model": jobs.Sent.of("m.keras", b"Y")},
    ],
)
def test_files_that_only_look_alike_one_after_the_other_are_another_job(
    home: Home, files: dict[str, jobs.Sent]
) -> None:
    jobs.submit_job(home, PARAMS, {"data": DATA, "model": jobs.Sent.of("m.onnx", b"Y")}, key="week 7")
    with pytest.raises(Conflict, match="was used for another job"):
        jobs.submit_job(home, PARAMS, files, key="week 7")


def test_a_job_that_waits_says_how_many_runs_go_first(home: Home) -> None:
    ids = [jobs.submit_job(home, PARAMS, {"data": DATA}).id for _ in range(3)]
    queue.submit(home, "btc", reasons=("a person waits",), priority=10)
    queue.submit(home, "btc", reasons=("a second reason",))
    assert [jobs.find_job(home, job)["runs_ahead"] for job in ids] == [1, 2, 3]
    queue.cancel(home, ids[0], by="a test")
    assert [one["runs_ahead"] for one in jobs.list_jobs(home)] == [2, 1, None]


def test_a_key_that_a_sender_chose_is_never_that_of_a_message(home: Home) -> None:
    with pytest.raises(BadRows, match="may not begin with 'stream/'"):
        jobs.submit_job(home, PARAMS, {"data": DATA}, key="stream/shop-1")
    first = jobs.submit_job(home, PARAMS, {"data": DATA}, message="shop-1")
    assert jobs.submit_job(home, PARAMS, {"data": DATA}, message="shop-1").id == first.id
    assert jobs.message_of_key(first.key or "") == "shop-1"


def test_a_job_whose_files_could_not_all_be_stored_leaves_none(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RunFiles.put

    def without_models(files: RunFiles, run: str, name: str, data: Any) -> None:
        if name == "model":
            raise StoreFailed("the disk is full", where="a test", do="make room")
        store(files, run, name, data)

    monkeypatch.setattr(RunFiles, "put", without_models)
    with pytest.raises(StoreFailed):
        jobs.submit_job(home, PARAMS, {"data": DATA, "model": jobs.Sent.of("m.onnx", b"Y")})
    assert home.run_files.runs() == set()


def test_two_jobs_of_one_model_do_not_join(home: Home) -> None:
    named = JobParams(target="sold", name="sales")
    first, second = (jobs.submit_job(home, named, {"data": DATA}) for _ in range(2))
    assert first.id != second.id
    assert {run.state for run in home.registry.runs("sales")} == {"queued"}


def test_a_job_that_waits_can_be_cancelled_and_leaves_no_file(home: Home) -> None:
    job = jobs.submit_job(home, PARAMS, {"data": DATA})
    queue.cancel(home, job.id, by="anna")
    assert jobs.find_job(home, job.id)["state"] == "cancelled"
    assert home.run_files.names(job.id) == set()
    with pytest.raises(NotFound, match="made no model: it cancelled"):
        jobs.model_file(home, job.id)


def test_a_model_that_is_not_made_yet_is_asked_for_later(home: Home) -> None:
    job = jobs.submit_job(home, PARAMS, {"data": DATA})
    with pytest.raises(NotReady, match="is queued"):
        jobs.model_file(home, job.id)


def test_old_jobs_that_have_ended_are_forgotten_with_what_they_told(home: Home) -> None:
    old, waiting = (
        jobs.submit_job(home, PARAMS, {"data": DATA}, now=lambda: utc_now() - timedelta(days=31)) for _ in range(2)
    )
    new = jobs.submit_job(home, PARAMS, {"data": DATA})
    for job in (old, new):
        queue.cancel(home, job.id, by="anna")
    assert jobs.forget_old_jobs(home, before=utc_now() - timedelta(days=30)) == [old.id]
    assert {one["id"] for one in jobs.list_jobs(home)} == {waiting.id, new.id}
    assert home.registry.events(old.id) == []
    assert home.registry.events(new.id) != []


def test_files_that_a_killed_sender_has_left_are_removed_after_a_while(home: Home) -> None:
    waiting = jobs.submit_job(home, PARAMS, {"data": DATA})
    home.run_files.put("20240101-000000-job-abcd", "data", b"1")
    later = utc_now() + timedelta(days=1)
    assert jobs.forget_lost_files(home, before=utc_now() - timedelta(days=1)) == ["20240101-000000-job-abcd"]
    assert jobs.forget_lost_files(home, before=later) == []
    queue.cancel(home, waiting.id, by="anna")
    home.run_files.put(waiting.id, "data", b"1")
    assert jobs.forget_lost_files(home, before=later) == [waiting.id]
    assert home.run_files.runs() == set()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "input data was truncated"),
        ("[]", "Expected `object`"),
        ("{}", "target is missing"),
        ('{"target": 3}', "Expected `str`"),
        ('{"target": "y", "budgt": 3}', "key 'budgt' is not known"),
        ('{"target": "y", "seed": -1}', "seed must be from 0"),
        ('{"target": "y", "judge": 0.9}', "judge must be a share"),
        ('{"target": "y", "name": "../x"}', "name must be letters"),
        ('{"target": "y", "framework": "theano"}', "framework: Invalid enum value 'theano'"),
    ],
)
def test_wrong_params_are_refused_with_the_key(text: str, what: str) -> None:
    with pytest.raises(BadRows) as refused:
        jobs.read_params(text)
    assert what.lower() in refused.value.what.lower()


def test_a_wrong_choice_is_refused_with_what_there_is() -> None:
    with pytest.raises(BadRows) as refused:
        jobs.read_params('{"target": "y", "framework": "tensorflw"}')
    assert refused.value.do.startswith("did you mean 'tensorflow'? known: lightgbm, pytorch")


@pytest.mark.parametrize(
    "place",
    [
        "https://models.example/out/x",
        "https://models.example/in/../out",
        "https://models.example.evil/in/x",
        "http://models.example/in/x",
        "https://anna@models.example/in/x",
        "https://models.example/in/%2e%2e/out",
        "https://models.example/in/..%2fout",
        "https://models.example/in//evil.example/x",
        "https://models.example/in/a\\..\\..\\out",
        "/etc",
        "./models/../..",
    ],
)
def test_a_place_that_the_settings_do_not_allow_is_refused_before_anything_is_kept(home: Home, place: str) -> None:
    with pytest.raises(BadRows, match="may not be put there"):
        jobs.submit_job(home, JobParams(target="sold", deliver=place), {"data": DATA})
    assert home.registry.runs(None) == []


def test_a_place_below_an_allowed_one_is_taken(home: Home) -> None:
    asked = JobParams(target="sold", deliver="https://models.example/in/sales?signature=x")
    job = jobs.submit_job(home, asked, {"data": DATA})
    assert "signature" not in str(jobs.find_job(home, job.id))


@pytest.mark.parametrize("place", ["webhook", "deliver"])
def test_an_address_needs_a_secret_to_sign_and_to_seal_with(tmp_path: Path, place: str) -> None:
    home = home_with(tmp_path, '[jobs]\ndeliver = ["https://shop.example/"]\n')
    asked = replace(PARAMS, **{place: "https://shop.example/hook"})
    with pytest.raises(BadRows, match="there is no secret"):
        jobs.submit_job(home, asked, {"data": DATA})


@pytest.mark.parametrize(
    "url", ["ftp://h/x", "http://", "http://[", "https://u:p@h/x", "https://h:99999/", "https://h:x/"]
)
def test_a_webhook_that_is_no_plain_web_address_is_refused(home: Home, url: str) -> None:
    with pytest.raises(BadRows, match="no web address"):
        jobs.submit_job(home, replace(PARAMS, webhook=url), {"data": DATA})


def test_addresses_that_hold_a_signature_are_not_in_the_database(home: Home, tmp_path: Path) -> None:
    addresses = {name: f"https://models.example/in/{name}?signature=s3cr3t" for name in ("webhook", "deliver")}
    job = jobs.submit_job(home, replace(PARAMS, **addresses), {"data": DATA})
    home.registry.engine.dispose()
    assert all(b"s3cr3t" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    kept = home.registry.job(job.id).params
    secret = home.settings.jobs.secret
    assert {"webhook": unseal(str(kept.webhook), secret), "deliver": unseal(str(kept.deliver), secret)} == addresses
    with pytest.raises(NotFound, match="another secret"):
        unseal(str(kept.webhook), SecretStr("another secret, quite another"))


def test_a_model_is_put_to_an_address_unless_it_answers_otherwise(tmp_path: Path) -> None:
    with receiving(200, 302, 500) as receiver:
        allowed = f'[jobs]\nsecret = "{SECRET}"\ndeliver = ["{receiver.url}/in/"]\n'
        home = home_with(tmp_path, f"{allowed}allow_private = true\n")
        job = jobs.submit_job(home, replace(PARAMS, deliver=f"{receiver.url}/in/m.txt?s=1"), {"data": DATA})
        assert deliver(home.settings.jobs, job, b"the model", "model.txt") == {"to": "127.0.0.1", "bytes": 9}
        for status in (302, 500):
            with pytest.raises(StoreFailed, match=f"answered {status}"):
                deliver(home.settings.jobs, job, b"the model", "model.txt")
        strict = home_with(tmp_path, allowed)
        with pytest.raises(StoreFailed, match="its address is private"):
            deliver(strict.settings.jobs, job, b"the model", "model.txt")
    assert receiver.paths == ["/in/m.txt?s=1"] * 3  # no redirect was followed
    assert receiver.bodies[0] == b"the model"


def test_a_job_may_not_take_the_name_of_a_model_of_the_settings(home: Home) -> None:
    with pytest.raises(BadRows, match="'btc' is a model of the settings"):
        jobs.submit_job(home, replace(PARAMS, name="btc"), {"data": DATA})


def test_requirements_are_taken_with_a_script_only(home: Home) -> None:
    wanted = jobs.Sent.of("requirements.txt", b"einops\n")
    with pytest.raises(BadRows, match="requirements without a script"):
        jobs.submit_job(home, PARAMS, {"data": DATA, "requirements": wanted})


def test_names_of_files_are_made_plain(home: Home) -> None:
    job = jobs.submit_job(home, PARAMS, {"data": jobs.Sent.of("C:\\new\nline/\0../a\tb" + "c" * 200, b"1")})
    assert job.files["data"] == "a?b" + "c" * 97


def test_a_job_without_data_is_refused(home: Home) -> None:
    with pytest.raises(BadRows, match="a job needs data"):
        jobs.submit_job(home, PARAMS, {})
