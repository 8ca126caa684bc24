"""Where the judging items begin, and when the first version is a first version."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.domain.model import Manifest, Version
from springtide.domain.rows import Filter, Snapshot
from springtide.domain.verdict import Verdict
from springtide.evaluation.losses import Losses
from springtide.pipeline.judgement import Rivals, judge, judging_start
from springtide.settings.words import Gate

if TYPE_CHECKING:
    from collections.abc import Mapping

LAST = datetime(2024, 6, 1, tzinfo=UTC)
SNAPSHOT = Snapshot("t", 0, Filter(), 9, "", LAST - timedelta(days=400), LAST)
days = st.integers(1, 300).map(lambda count: timedelta(days=count))


def champion(seen: datetime | None) -> Version:
    manifest = Manifest("m", "tabular", "run", LAST, "code", SNAPSHOT, {}, {}, {}, trained_until=seen)
    return Version("m", 1, manifest, Verdict(True, "", "better", "loss", 1, 1.0, ()))


def sliced(values: list[float]) -> Losses:
    """Losses at the seconds 0, 1, ... of which every other one is at night."""
    count = len(values)
    night = {"night": np.arange(count) % 2}
    shares = {0.1: 1 / 7, 0.9: 0.95}
    times, groups = np.arange(count), np.full(count, "a", dtype=np.str_)
    return Losses("loss", np.array(values), times, groups, slices=night, calibration=shares)


def losses(*values: float) -> Losses:
    count = len(values)
    return Losses("loss", np.array(values), np.arange(count), np.full(count, "a", dtype=np.str_))


def rivals(challenger: float, **baselines: float) -> Rivals:
    def around(mean: float) -> Losses:
        return losses(*(mean + step / 1000 for step in range(-20, 21)))

    return Rivals(around(challenger), None, {name: around(mean) for name, mean in baselines.items()})


@given(judge_span=days, ago=days)
def test_items_are_judged_from_the_newest_span_but_never_before_what_the_champion_has_seen(
    judge_span: timedelta, ago: timedelta
) -> None:
    gate = Gate(judge=judge_span)
    assert judging_start(SNAPSHOT, gate, None) == LAST - judge_span
    assert judging_start(SNAPSHOT, gate, champion(None)) == LAST - judge_span
    start = judging_start(SNAPSHOT, gate, champion(LAST - ago))
    assert start >= LAST - ago
    assert start == LAST - min(judge_span, ago)


@pytest.mark.parametrize(
    ("first", "setting", "promoted"),
    [(True, "gate", False), (True, "always", True), (False, "always", False), (False, "gate", False)],
)
def test_only_a_first_version_may_serve_without_proof_and_only_if_the_gate_says_so(
    *, first: bool, setting: str, promoted: bool
) -> None:
    gate = Gate.model_validate({"baselines": ["mean"], "rule": "better", "first": setting})
    verdict = judge(rivals(2.0, mean=1.0), gate, first=first)
    assert verdict.promote is promoted
    assert (verdict.warning is not None) is promoted


def test_what_could_not_be_compared_is_said_beside_every_other_warning() -> None:
    gate = Gate(baselines=("mean",), rule="better", first="always")
    worse = rivals(2.0, mean=1.0)
    verdict = judge(Rivals(worse.challenger, None, worse.baselines, "m@1 was not compared"), gate, first=True)
    assert verdict.warning is not None
    assert "without proof" in verdict.warning
    assert "m@1 was not compared" in verdict.warning


def test_the_metrics_of_everyone_are_kept_under_their_names() -> None:
    both = rivals(1.0, mean=2.0)
    found: Mapping[str, Mapping[str, float]] = Rivals(both.challenger, ("m@1", losses(3.0)), both.baselines).metrics()
    assert {name: round(one["loss"], 6) for name, one in found.items()} == {"challenger": 1.0, "mean": 2.0, "m@1": 3.0}


def test_the_details_are_columns_with_one_of_each_rival() -> None:
    everyone = Rivals(sliced([1.0, 2.0] * 60), ("m@1", sliced([2.0, 2.0] * 60)), {"mean": sliced([4.0, 1.0] * 60)})
    details = everyone.details()
    assert details["loss"]["starts"] == list(range(0, 120, 2))
    assert details["loss"]["challenger"] == [1.5] * 60
    assert details["loss"]["mean"] == [2.5] * 60
    shares = [0.142857, 0.95]
    assert details["calibration"] == {"levels": [0.1, 0.9], "challenger": shares, "mean": shares, "m@1": shares}
    assert details["skill"] == {"night": {"labels": [0, 1], "items": [60, 60], "mean": [0.75, -1.0], "m@1": [0.5, 0.0]}}


def test_a_task_without_slices_has_details_of_its_losses_alone() -> None:
    details = rivals(1.0, mean=2.0).details()
    assert set(details["loss"]) == {"starts", "challenger", "mean"}
    assert details["skill"] == {}
    assert details["calibration"]["levels"] == []
