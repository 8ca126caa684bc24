"""From the settings to the features of a model, in an order that is part of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from springtide.domain.errors import SettingsError
from springtide.tasks.forecast.features.calendars import build_calendar
from springtide.tasks.forecast.features.drivers import build_driver
from springtide.tasks.forecast.features.feature import Feature, Kind, reach_of
from springtide.tasks.forecast.features.indicators import build_indicators
from springtide.tasks.forecast.features.outside import build_outside
from springtide.tasks.forecast.features.timeframes import build_timeframe

if TYPE_CHECKING:
    from springtide.tasks.forecast.features.spec import FeatureSpec

__all__ = ["LONGEST_REACH", "build_features"]

LONGEST_REACH = 20_000  # rows that are read for each forecast


def build_features(spec: FeatureSpec, *, step_s: int, kind: Kind) -> tuple[Feature, ...]:
    """The features that the settings ask for: indicators, timeframes, drivers, calendar, outside tables.

    Parameters
    ----------
    spec : FeatureSpec
        From the model's section; no features when it is empty.
    step_s : int
        Seconds between two rows.
    kind : str
        ``candles`` or ``plain``.

    Raises
    ------
    SettingsError
        If one cannot be had from such rows, or is asked for twice, or reaches back more than `LONGEST_REACH` rows.
    """
    if spec.timeframes and kind == "plain":
        raise SettingsError(
            "longer bars need candles, the table holds plain values",
            where="features.timeframes",
            do="leave timeframes out",
        )
    features = build_indicators(spec.indicators, kind=kind)
    for timeframe in spec.timeframes:
        features += build_timeframe(timeframe, step_s=step_s)
    for driver in spec.drivers:
        features += build_driver(driver, kind=kind)
    if spec.calendar:
        features += build_calendar(step_s=step_s)
    for name, outside in spec.outside.items():
        features += build_outside(name, outside)
    _check(features)
    return tuple(features)


def _check(features: list[Feature]) -> None:
    names = [feature.name for feature in features]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SettingsError(f"feature {twice[0]!r} is asked for twice", where="features", do="leave one of them out")
    if reach_of(features) > LONGEST_REACH:
        longest = max(features, key=lambda feature: feature.reach)
        raise SettingsError(
            f"feature {longest.name!r} looks at {longest.reach} rows, at most {LONGEST_REACH} are read for a forecast",
            where="features",
            do=f"leave out {longest.group}, or learn from rows of a longer step",
        )
