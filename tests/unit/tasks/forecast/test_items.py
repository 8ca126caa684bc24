from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from tests.synthetic import HOUR, JUDGED_FROM, START, candles, plain, recipe, windows, without

from springtide.domain.errors import BadRows, SpringtideError, TooFewRows
from springtide.tasks.forecast.items import season_of
from springtide.tasks.forecast.scoring import naive_error

AT_HOUR_200 = pl.col("ds") == START + HOUR * 200


def test_more_history_at_the_end_changes_no_training_and_no_validation_item() -> None:
    short, long = windows(candles(24 * 24)), windows(candles(24 * 30))
    for part in ("train", "validation"):
        moments = [one.panel.seconds[getattr(one, part)] for one in (short, long)]
        assert moments[0].tolist() == moments[1].tolist()


def test_a_training_period_slides_with_the_judging_items() -> None:
    whole = windows(candles())
    for days in (0, 1):
        judged_from = JUDGED_FROM + timedelta(days=days)
        slid = windows(candles(), judged_from=judged_from, train_period="5d")
        times = slid.panel.seconds[slid.train]
        assert times.max() - times.min() == 5 * 86_400
        assert times.max() == judged_from.timestamp() - 4 * 86_400 - 2 * slid.recipe.horizon * 3600
        assert len(slid.train) < len(whole.train)


def test_a_stride_thins_out_the_judging_items_of_every_series_at_the_same_times() -> None:
    every, third = windows(candles()), windows(candles(), stride=3)
    hours = third.panel.seconds[third.judging] // 3600
    assert set((hours % 3).tolist()) == {0}
    assert len(third.judging) == pytest.approx(len(every.judging) / 3, abs=2)
    assert third.train.tolist() == every.train.tolist()
    assert third.validation.tolist() == every.validation.tolist()


def test_the_same_moments_are_judged_whenever_the_judging_begins() -> None:
    early, late = (windows(candles(), stride=5, judged_from=JUDGED_FROM + HOUR * hours) for hours in (0, 7))
    assert set(late.panel.seconds[late.judging].tolist()) < set(early.panel.seconds[early.judging].tolist())


def test_items_at_a_gap_are_left_out_and_counted() -> None:
    whole, gapped = windows(candles()), windows(without(candles(), "BTC/USDT", range(300, 304)))
    missed = set(whole.train.tolist()) - set(gapped.train.tolist())
    # four outcomes ahead reach the first missing hour from 296; 22 rows back still see three of the four hours
    assert missed == set(range(296, 325))
    assert gapped.facts["items_left_out_at_gaps"] == len(missed)
    assert gapped.facts["filled_rows"] == 4


def test_the_facts_count_the_items_of_every_part() -> None:
    found = windows(candles())
    assert found.facts["series"] == 2
    assert found.facts["rows"] == 2 * 720
    parts = {"training_items": found.train, "validation_items": found.validation, "judging_items": found.judging}
    assert {name: found.facts[name] for name in parts} == {name: len(items) for name, items in parts.items()}


def test_a_series_too_short_for_one_window_takes_no_part_and_spoils_nothing() -> None:
    found = windows(pl.concat([candles(series=["A"]), candles(20, series=["B"])]))
    assert set(found.panel.owner[found.train].tolist()) == {0}


MISTAKES: dict[str, tuple[pl.DataFrame, dict[str, object], type[SpringtideError], str]] = {
    "too short for validation": (candles(100), {}, TooFewRows, "the longest of 2 series has 100 rows; about 133"),
    "too short for judging": (candles(24 * 22), {}, TooFewRows, "no judging item is left"),
    "a window longer than all": (candles(), {"window": 700}, TooFewRows, "no training item is left"),
    "a validation longer than all": (candles(), {"validation": "22d"}, TooFewRows, "no training item is left"),
    "a series that is not there": (candles(), {"series": ("XRP/USDT", "BTC/USDT")}, TooFewRows, "no rows of XRP/USDT"),
    "a price that never changes": (
        candles().with_columns(close=pl.lit(3.0)),
        {},
        BadRows,
        "the value never changes (3 in 720 rows)",
    ),
    "a value that never changes": (plain().with_columns(y=pl.lit(0.0)), {}, BadRows, "never changes"),
    "a missing close": (
        candles().with_columns(close=pl.when(AT_HOUR_200).then(None).otherwise("close")),
        {},
        BadRows,
        "not positive numbers",
    ),
    "an endless close": (
        candles().with_columns(close=pl.when(AT_HOUR_200).then(np.inf).otherwise("close")),
        {},
        BadRows,
        "not positive numbers",
    ),
    "a y that is not a number": (
        plain().with_columns(y=pl.when(AT_HOUR_200).then(np.nan).otherwise("y")),
        {},
        BadRows,
        "not numbers",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_rows_that_cannot_be_learned_from_are_refused_with_why_and_what_to_do(mistake: str) -> None:
    rows, changes, error, what = MISTAKES[mistake]
    with pytest.raises(error) as refused:
        windows(rows, **changes)
    assert what in refused.value.what
    assert refused.value.where
    assert refused.value.do


def test_too_few_rows_names_every_span_that_could_be_made_smaller() -> None:
    with pytest.raises(TooFewRows) as refused:
        windows(candles(100))
    assert refused.value.where == "window 24, horizon 4, validation 4d, judging from 2024-01-23 00:00"
    assert "`gate.judge`" in refused.value.do


def test_as_many_rows_as_the_error_asks_for_are_enough() -> None:
    judged_from = START + HOUR * 133
    assert len(windows(candles(133 + 28), judged_from=judged_from).train) >= 1


@pytest.mark.parametrize(
    ("step_s", "season"), [(60, 1440), (300, 288), (3600, 24), (14_400, 6), (86_400, 7), (604_800, 1), (2_592_000, 1)]
)
def test_a_season_is_a_day_of_shorter_steps_and_a_week_of_days(step_s: int, season: int) -> None:
    assert season_of(recipe(), step_s) == season


def test_a_season_may_be_given() -> None:
    assert season_of(recipe(season=5), 3600) == 5


def test_a_plain_series_too_young_to_train_on_is_not_measured_by_what_is_judged() -> None:
    young = plain().filter((pl.col("unique_id") != "b") | (pl.col("ds") >= JUDGED_FROM - timedelta(days=5)))
    after = (pl.col("unique_id") == "b") & (pl.col("ds") > JUDGED_FROM)
    wilder = young.with_columns(y=pl.when(after).then(pl.col("y") * 5).otherwise("y"))
    assert naive_error(windows(young)).tolist() == naive_error(windows(wilder)).tolist()
