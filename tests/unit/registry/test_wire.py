"""What is written as JSON comes back equal."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from springtide.domain.model import Manifest
from springtide.domain.rows import Filter, Snapshot
from springtide.domain.run import Failure, Run, Step
from springtide.domain.verdict import Comparison, Verdict
from springtide.registry.wire import manifest_from, run_from, to_json, verdict_from

zones = st.sampled_from([UTC, timezone(timedelta(hours=-5, minutes=-30))])
times = st.datetimes(timezones=zones)
numbers = st.floats(allow_nan=False, allow_infinity=False)
plain = st.dictionaries(st.text(), st.none() | st.booleans() | st.integers(-(2**53), 2**53) | numbers | st.text())
filters = st.builds(Filter, st.lists(st.text()).map(tuple), start=st.none() | times, end=st.none() | times)
snapshots = st.builds(Snapshot, st.text(), st.integers(0), filters, st.integers(0), st.text(), first=times, last=times)
manifests = st.builds(
    Manifest,
    model=st.text(),
    task=st.text(),
    run=st.text(),
    created=times,
    code=st.text(),
    snapshot=snapshots,
    recipe=plain,
    signature=plain,
    metrics=plain,
    files=st.dictionaries(st.text(), st.text()),
    settings=plain,
    environment=plain,
)
comparisons = st.builds(Comparison, loss=numbers, gain=numbers, p_value=numbers)
verdicts = st.builds(Verdict, loss=numbers, comparisons=st.lists(comparisons, max_size=3).map(tuple))
steps = st.builds(Step, name=st.text(), started=times, seconds=st.none() | numbers, result=plain)
runs = st.builds(
    Run,
    id=st.text(),
    model=st.text(),
    state=st.sampled_from(["running", "succeeded", "failed", "cancelled"]),
    version=st.none() | st.integers(1),
    reasons=st.lists(st.text()).map(tuple),
    started=times,
    finished=st.none() | times,
    steps=st.lists(steps, max_size=3).map(tuple),
    failure=st.none() | st.builds(Failure),
)


@given(manifests)
def test_a_manifest_comes_back_equal(manifest: Manifest) -> None:
    assert manifest_from(to_json(manifest)) == manifest


@given(manifests)
def test_a_manifest_from_before_settings_and_environment_were_recorded_can_still_be_read(manifest: Manifest) -> None:
    raw = json.loads(to_json(manifest))
    del raw["settings"], raw["environment"]
    assert manifest_from(json.dumps(raw)) == replace(manifest, settings={}, environment={})


@given(verdicts)
def test_a_verdict_comes_back_equal(verdict: Verdict) -> None:
    assert verdict_from(to_json(verdict)) == verdict


@given(runs)
def test_a_run_comes_back_equal(run: Run) -> None:
    assert run_from(to_json(run)) == run


def test_a_loss_that_is_not_finite_comes_back_as_a_number_that_is_not_one() -> None:
    rival = Comparison("last-value", "baseline", math.inf, 0.0, 0.5, passed=False)
    verdict = verdict_from(to_json(Verdict(False, "-", "better", "mae", 1, math.nan, (rival,))))
    assert math.isnan(verdict.loss)
    assert math.isnan(verdict.comparisons[0].loss)
    assert replace(verdict.comparisons[0], loss=0.0) == replace(rival, loss=0.0)
