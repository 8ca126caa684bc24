"""Where the watch over the losses begins, and what it is beside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.contract.tabular_task import TabularRecipe

from springtide.domain.model import Manifest, Version
from springtide.domain.rows import Filter, Snapshot
from springtide.domain.verdict import Verdict
from springtide.evaluation.drift import Shift
from springtide.pipeline.drift import _best_known, _say_shifts, _watched_from

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEAR, DAY = timedelta(days=365), timedelta(days=1)
BEGIN = EPOCH + 50 * YEAR


def version(*, seen: datetime | None = None, **losses: float) -> Version:
    snapshot = Snapshot("t", 1, 10, EPOCH, BEGIN, "0", Filter())
    metrics = {name: {"loss": loss} for name, loss in losses.items()}
    recipe = TabularRecipe().model_dump()
    manifest = Manifest("m", "tabular", "run", BEGIN, "code", snapshot, recipe, {}, metrics, trained_until=seen)
    verdict = Verdict(promote=True, reason="", rule="better", loss_name="", items=0, loss=0.0, comparisons=())
    return Version("m", 1, manifest, verdict)


@pytest.mark.parametrize("judged_from", [BEGIN, BEGIN + 1 * DAY, BEGIN + 364 * DAY])
def test_all_looks_of_a_year_begin_at_the_same_place(judged_from: datetime) -> None:
    assert _watched_from(judged_from, version()) == BEGIN
    assert _watched_from(judged_from, version(seen=BEGIN - 900 * DAY)) == BEGIN


def test_no_look_begins_before_all_that_the_champion_has_seen() -> None:
    seen = BEGIN + 30 * DAY
    assert _watched_from(BEGIN + 200 * DAY, version(seen=seen)) == seen


def test_the_champion_stands_beside_the_baseline_of_the_gate_that_was_the_best_one_when_it_was_judged() -> None:
    judged = version(**{"last-value": 3.0, "ewma-volatility": 2.0, "log-har": 1.0, "challenger": 0.5})
    assert _best_known(judged, ("last-value", "ewma-volatility")) == ("ewma-volatility",)
    assert _best_known(judged, ("garch",)) == ()


def test_the_largest_shifts_have_a_sentence_each_and_the_others_one_together() -> None:
    shifts = [Shift(f"x{place}", float(place), 0.25, 1.0, 0.001, 9, 9.0, drifted=place > 2) for place in range(10)]
    said = _say_shifts(shifts)
    assert said[0] == "drift: x9 is unlike training (PSI 9.00, threshold 0.25)"
    assert said[-1] == "drift: 2 more of 10 inputs are unlike training"
    assert len(said) == 6
    assert _say_shifts(shifts[:3]) == []
