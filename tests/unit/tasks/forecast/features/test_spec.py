from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tests.unit.tasks.forecast.features.world import spec

from springtide.domain.errors import SettingsError
from springtide.settings.file import read
from springtide.tasks.forecast.features import indicators
from springtide.tasks.forecast.features.spec import STANDARD_LENGTHS, FeatureSpec, OutsideSpec
from springtide.tasks.forecast.recipe import ForecastRecipe

if TYPE_CHECKING:
    from pathlib import Path

TOML = """
[models.btc]
task = "forecast"
table = "candles"
[models.btc.features]
indicators = ["rsi:21", "macd"]
timeframes = ["4h", "1d"]
[models.btc.features.outside.funding]
table = "funding"
columns = ["rate"]
delay = "0s"
series = {"BTC/USDT" = "BTC/USDT:USDT"}
max_age = "2d"
"""


def settings(folder: Path, text: str) -> FeatureSpec:
    path = folder / "springtide.toml"
    path.write_text(text)
    found = read(path, environ={}, recipes={"forecast": ForecastRecipe})
    features: FeatureSpec = found.models["btc"].recipe.features
    return features


def test_a_section_of_features_is_read(tmp_path: Path) -> None:
    found = settings(tmp_path, TOML)
    assert (found.indicators, found.timeframes) == (("rsi:21", "macd"), (timedelta(hours=4), timedelta(days=1)))
    assert (found.drivers, found.calendar) == ((), False)
    assert found.outside["funding"].delay == timedelta(0)


def test_a_model_without_the_section_has_no_features() -> None:
    assert ForecastRecipe().features == FeatureSpec()


MISTAKES = {
    "an indicator that nobody knows": ('"rsi:21"', '"rsj"', "indicator 'rsj'", "line 6", "did you mean 'rsi'"),
    "a length of one step": ("rsi:21", "rsi:1", "'rsi:1' does not give rsi", "line 6", "rsi:14"),
    "a length of nothing": ("rsi:21", "rsi:", "'rsi:' does not give rsi", "line 6", "rsi:14"),
    "a length too few": ('"macd"', '"macd:12:26"', "macd its lengths", "line 6", "macd:12:26:9"),
    "the same indicator twice": ('"macd"', '"rsi:21"', "twice", "line 6", ""),
    "one timeframe in two words": ('"4h"', '"24h"', "twice", "line 7", ""),
    "a timeframe without a unit": ('"4h"', '"4"', "not a span of time", "line 7", "30s, 5m, 1h"),
    "a key that nobody knows": ("timeframes", "timeframe", "key 'timeframe'", "line 5", "did you mean 'timeframes'"),
    "no delay": ('delay = "0s"\n', "", "key 'delay' is missing", "line 8", "features.outside.funding"),
    "a delay that is a word": ('"0s"', '"later"', "'later' is not a span", "line 11", "write"),
    "no columns": ('["rate"]', "[]", "columns", "line 10", ""),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_wrong_word_is_refused_with_its_line(mistake: tuple[str, str, str, str, str], tmp_path: Path) -> None:
    old, new, what, where, do = mistake
    assert old in TOML
    with pytest.raises(SettingsError) as refused:
        settings(tmp_path, TOML.replace(old, new, 1))
    assert what in refused.value.what
    assert where in refused.value.where
    assert do in refused.value.do


def test_the_settings_come_back_from_json_as_they_were() -> None:
    for chosen in (FeatureSpec(), spec("candles"), spec("plain")):
        assert FeatureSpec.model_validate_json(chosen.model_dump_json()) == chosen


def test_every_indicator_that_has_a_name_can_be_built() -> None:
    assert {*indicators.OF_CANDLES, *indicators.OF_VALUES} == set(STANDARD_LENGTHS)


def test_outside_rows_are_those_of_one_series_of_all_or_of_the_same_name() -> None:
    def chosen(series: object) -> str | None:
        return OutsideSpec.model_validate(
            {"table": "f", "columns": ["rate"], "delay": "0s", "max_age": "1d", "series": series}
        ).series_of("BTC/USDT")

    assert chosen(None) == "BTC/USDT"
    assert chosen("all") == "all"
    assert chosen({"BTC/USDT": "BTC/USDT:USDT"}) == "BTC/USDT:USDT"
    assert chosen({"ETH/USDT": "ETH/USDT:USDT"}) is None
