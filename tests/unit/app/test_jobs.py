"""Jobs as they are sent, kept, followed and forgotten; what is done with them is another suite's."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from springtide.app import jobs, queue
from springtide.app.home import Home, open_home, read_settings
from springtide.domain.clock import utc_now
from springtide.domain.errors import BadRows, Conflict, NotFound, NotReady
from springtide.domain.job import JobParams

if TYPE_CHECKING:
    from pathlib import Path

DATA = jobs.Sent.of("sales.csv", b"size,sold\n1,2\n")
PARAMS = JobParams(target="sold", webhook=None)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "springtide.toml").write_text('[jobs]\ndeliver = ["https://models.example/in/", "./models"]\n')
    return open_home(read_settings(tmp_path / "springtide.toml", environ={}))


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


def test_old_jobs_are_forgotten(home: Home) -> None:
    old = jobs.submit_job(home, PARAMS, {"data": DATA}, now=lambda: utc_now() - timedelta(days=31))
    new = jobs.submit_job(home, PARAMS, {"data": DATA})
    assert jobs.forget_old_jobs(home, before=utc_now() - timedelta(days=30)) == [old.id]
    assert [one["id"] for one in jobs.list_jobs(home)] == [new.id]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "input data was truncated"),
        ("[]", "Expected `object`"),
        ("{}", "missing required field `target`"),
        ('{"target": 3}', "Expected `str`"),
        ('{"target": "y", "budgt": 3}', "key 'budgt' is not known"),
        ('{"target": "y", "judge": 0.9}', "judge must be a share"),
        ('{"target": "y", "name": "../x"}', "name must be letters"),
        ('{"target": "y", "framework": "theano"}', "Invalid enum value 'theano'"),
    ],
)
def test_wrong_params_are_refused_with_the_key(text: str, what: str) -> None:
    with pytest.raises(BadRows) as refused:
        jobs.read_params(text)
    assert what.lower() in refused.value.what.lower()


@pytest.mark.parametrize(
    "place",
    [
        "https://models.example/out/x",
        "https://models.example/in/../out",
        "https://models.example.evil/in/x",
        "http://models.example/in/x",
        "https://anna@models.example/in/x",
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


def test_a_webhook_needs_a_secret_to_sign_it_with(home: Home) -> None:
    with pytest.raises(BadRows, match="webhooks of jobs are not set up"):
        jobs.submit_job(home, JobParams(target="sold", webhook="https://shop.example/hook"), {"data": DATA})


def test_a_job_without_data_is_refused(home: Home) -> None:
    with pytest.raises(BadRows, match="a job needs data"):
        jobs.submit_job(home, PARAMS, {})
