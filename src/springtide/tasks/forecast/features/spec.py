"""What a ``[models.NAME.features]`` section may say."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, field_validator, model_validator

from springtide.domain.errors import SettingsError, did_you_mean
from springtide.domain.units import format_span, parse_span
from springtide.settings.words import Span

__all__ = ["STANDARD_LENGTHS", "FeatureSpec", "OutsideSpec", "parse_indicator"]

STANDARD_LENGTHS: dict[str, tuple[tuple[int, ...], ...]] = {
    "rsi": ((14,),),
    "macd": ((12, 26, 9),),
    "bollinger": ((20,),),
    "atr": ((14,),),
    "obv": ((20,),),
    "stochastic": ((14, 3),),
    "volume": ((20,),),
    "range-volatility": ((24,),),
    "momentum": ((6,), (24,), (72,)),
}
"""Each indicator with the lengths, in steps, that it has when none are written."""

LONGEST = 500  # steps of one length of an indicator

Period = Annotated[Span, PlainSerializer(format_span, when_used="json")]


def _delay(value: Any) -> Any:
    """A span of time that may be zero."""
    if not isinstance(value, str):
        return value
    return timedelta(0) if value.strip() in ("0s", "0m", "0h", "0d") else parse_span(value)


Delay = Annotated[
    timedelta,
    BeforeValidator(_delay),
    PlainSerializer(lambda delay: format_span(delay) if delay else "0s", when_used="json"),
    Field(ge=timedelta(0)),
]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        strangers = sorted(value.keys() - cls.model_fields.keys()) if isinstance(value, dict) else []
        if strangers:
            raise SettingsError(
                f"key {strangers[0]!r} is not known", where="features", do=did_you_mean(strangers[0], cls.model_fields)
            )
        return value


class OutsideSpec(_Section):
    """Columns of another table of the lake, joined as of the moment at which they were known."""

    table: Annotated[str, Field(description="A table of the lake: unique_id, ds and numeric columns.")]
    columns: Annotated[tuple[str, ...], Field(min_length=1, description="Which of its columns.")]
    delay: Annotated[Delay, Field(description="How long after its ds a row is known.")]
    max_age: Annotated[Period, Field(description="A value known for longer than this counts as not known.")]
    series: Annotated[
        str | dict[str, str] | None,
        Field(description="unique_id of the outside rows: one for all, or a table; the same one when not given."),
    ] = None

    def series_of(self, series: str) -> str | None:
        """The unique_id of the outside rows that belong to `series`; None where a table of names leaves it out."""
        if isinstance(self.series, dict):
            return self.series.get(series)
        return series if self.series is None else self.series


class FeatureSpec(_Section):
    """Which features a forecast model sees beside its window; none when empty."""

    indicators: Annotated[
        tuple[str, ...], Field(description="Technical indicators, with lengths of their own after colons: rsi:21.")
    ] = ()
    timeframes: Annotated[tuple[Period, ...], Field(description="Longer bars built from the rows: 4h, 1d.")] = ()
    drivers: Annotated[tuple[str, ...], Field(description="Other series of the same table.")] = ()
    calendar: Annotated[bool, Field(description="Hour, day, week and month of the cutoff.")] = False
    outside: Annotated[dict[str, OutsideSpec], Field(description="Columns of other tables.")] = {}

    @field_validator("indicators")
    @classmethod
    def _indicators(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for written in value:
            parse_indicator(written)
        return value

    @field_validator("indicators", "timeframes", "drivers")
    @classmethod
    def _each_once(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(value)) < len(value):
            raise ValueError("the same entry stands here twice")
        return value


def parse_indicator(written: str) -> tuple[str, tuple[tuple[int, ...], ...]]:
    """The name of an indicator and the lengths it is wanted with.

    >>> parse_indicator("rsi:21"), parse_indicator("momentum")
    (('rsi', ((21,),)), ('momentum', ((6,), (24,), (72,))))
    """
    name, *lengths = written.split(":")
    if name not in STANDARD_LENGTHS:
        raise SettingsError(
            f"indicator {name!r} is not known", where="features.indicators", do=did_you_mean(name, STANDARD_LENGTHS)
        )
    standard = STANDARD_LENGTHS[name]
    if not lengths:
        return name, standard
    usual = ":".join(map(str, standard[0]))
    if len(lengths) != len(standard[0]) or not all(part.isdecimal() and 2 <= int(part) <= LONGEST for part in lengths):
        raise SettingsError(
            f"{written!r} does not give {name} its lengths",
            where="features.indicators",
            do=f"write {name}:{usual}, each length between 2 and {LONGEST} steps",
        )
    return name, (tuple(int(part) for part in lengths),)
