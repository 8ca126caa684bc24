from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.domain.errors import SettingsError
from springtide.domain.units import format_span, parse_span, steps_per_day

UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}


@given(st.integers(1, 1000), st.sampled_from(sorted(UNIT_S)))
def test_a_span_is_its_number_times_its_unit(number: int, unit: str) -> None:
    assert parse_span(f"{number}{unit}") == timedelta(seconds=number * UNIT_S[unit])


@given(st.integers(1, 10**9).map(lambda seconds: timedelta(seconds=seconds)))
def test_a_span_survives_being_written_and_read(span: timedelta) -> None:
    assert parse_span(format_span(span)) == span


@given(st.integers(1, 10**9).map(lambda seconds: timedelta(seconds=seconds)))
def test_a_span_is_written_with_the_smallest_possible_number(span: timedelta) -> None:
    whole = [span // timedelta(seconds=s) for u, s in UNIT_S.items() if u != "y" and not span % timedelta(seconds=s)]
    assert int(format_span(span)[:-1]) == min(whole)


@pytest.mark.parametrize("text", ["", "h", "1", "0h", "-1h", "1.5h", "1 h", "1M", "1h30m", "one hour", "1h\n2"])
def test_what_is_not_a_span_is_refused_with_examples_of_what_is(text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse_span(text)
    assert repr(text) in refused.value.what
    assert "5m" in refused.value.do


@given(st.integers(1, 10**7))
def test_a_day_has_as_many_steps_as_fit_into_it_and_never_none(step_s: int) -> None:
    steps = steps_per_day(step_s)
    assert steps >= 1
    assert steps == 1 or steps * step_s <= 86_400 < (steps + 1) * step_s
