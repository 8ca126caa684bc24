from __future__ import annotations

import pytest
from tests.unit.tasks.forecast.features.world import HOUR_S, spec

from springtide.domain.errors import SettingsError
from springtide.tasks.forecast.features.build import build_features
from springtide.tasks.forecast.features.feature import reach_of
from springtide.tasks.forecast.features.spec import STANDARD_LENGTHS, FeatureSpec


def names(step_s: int = HOUR_S, kind: str = "candles", **changes: object) -> list[str]:
    found = build_features(FeatureSpec.model_validate(changes), step_s=step_s, kind=kind)  # type: ignore[arg-type]
    return [feature.name for feature in found]


def test_an_empty_section_has_no_features() -> None:
    assert names() == []


def test_features_stand_in_the_order_of_the_section_and_of_its_entries() -> None:
    assert names(indicators=["momentum", "rsi:21", "rsi"]) == [
        "momentum_6",
        "momentum_24",
        "momentum_72",
        "rsi_21",
        "rsi_14",
    ]
    groups = [feature.group for feature in build_features(spec(), step_s=HOUR_S, kind="candles")]
    assert list(dict.fromkeys(groups)) == [
        "indicators",
        "timeframe 2h",
        "timeframe 1d",
        "driver ETH/USDT",
        "calendar",
        "outside funding",
    ]


def test_an_outside_column_is_its_value_change_means_and_age() -> None:
    funding = {"table": "f", "columns": ["rate"], "delay": "0s", "max_age": "1d"}
    assert names(outside={"funding": funding}) == [
        "funding.rate",
        "funding.rate.change",
        "funding.rate.mean_1d",
        "funding.rate.mean_7d",
        "funding.rate.age",
    ]


def test_daily_rows_have_no_hour() -> None:
    assert "hour_sin" in names(calendar=True)
    assert "hour_sin" not in names(step_s=86_400, calendar=True)


def test_the_standard_indicators_of_hourly_candles_need_no_more_than_a_week() -> None:
    standard = FeatureSpec(indicators=tuple(STANDARD_LENGTHS))
    assert reach_of(build_features(standard, step_s=HOUR_S, kind="candles")) <= 168


REFUSED = {
    "candles for plain values": ({"kind": "plain", "indicators": ["atr"]}, "'atr' needs candles"),
    "bars of plain values": ({"kind": "plain", "timeframes": ["4h"]}, "need candles"),
    "bars of the step itself": ({"timeframes": ["1h"]}, "bars of 1h cannot be built from steps of 3600 s"),
    "bars that do not fit": ({"timeframes": ["90m"]}, "bars of 90m"),
    "bars below the step": ({"timeframes": ["5m"]}, "bars of 5m"),
    "the standard length twice": ({"indicators": ["rsi", "rsi:14"]}, "'rsi_14' is asked for twice"),
    "a week of minutes": ({"step_s": 60, "timeframes": ["1w"]}, "looks at 70560 rows"),
}


@pytest.mark.parametrize(("asked", "what"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_had_is_refused(asked: dict[str, object], what: str) -> None:
    with pytest.raises(SettingsError) as refused:
        names(**asked)  # type: ignore[arg-type]
    assert what in refused.value.what
