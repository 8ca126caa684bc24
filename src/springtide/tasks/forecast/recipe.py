"""What a ``[models.NAME]`` section with ``task = "forecast"`` may say."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from springtide.settings.words import Span
from springtide.tasks.forecast.features.spec import FeatureSpec

__all__ = ["ForecastRecipe"]


PRESETS: dict[Any, dict[str, Any]] = {
    "classic": {"network": "classic", "window": 120, "horizon": 1},  # Make Us Rich: an LSTM that says the next close
}


class ForecastRecipe(BaseModel):
    """How one forecast model is trained and judged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    series: Annotated[
        tuple[str, ...], Field(description="unique_ids of one global model; every series of the table when empty.")
    ] = ()
    horizon: Annotated[int, Field(ge=1, le=10_000, description="Steps to forecast, in units of the timeframe.")] = 24
    window: Annotated[int, Field(ge=8, le=10_000, description="Past steps the model sees.")] = 168
    preset: Annotated[
        Literal["classic"] | None, Field(description="Settings of a known model, for keys that are not written.")
    ] = None
    network: Annotated[
        Literal["classic", "lstm", "mixer", "nhits", "nlinear", "patch"], Field(description="The network.")
    ] = "mixer"
    intervals: Annotated[
        tuple[int, ...], Field(min_length=1, description="Central intervals in per cent, beside the median.")
    ] = (50, 80, 90)
    season: Annotated[
        int | None, Field(ge=1, description="Steps of one season; a day (a week for daily rows) when not given.")
    ] = None
    logarithmic: Annotated[
        bool,
        Field(
            description="Learn ratios of plain series, all of whose values are positive; those of candles always are."
        ),
    ] = False
    train_period: Annotated[
        Span | None, Field(description="Length of the sliding training window; all history when not given.")
    ] = None
    validation: Annotated[Span, Field(description="The span before the judging items that stops the training.")] = (
        timedelta(days=45)
    )
    stride: Annotated[int, Field(ge=1, description="Steps between two judging items of a series.")] = 1
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 3e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    batch: Annotated[
        int | None, Field(ge=1, description="Windows of one step; 256, or 64 for the lstm, when not given.")
    ] = None
    max_steps: Annotated[int, Field(ge=0, description="Most optimiser steps of one fit.")] = 3_000
    patience: Annotated[int, Field(ge=1, description="Validation looks without a gain before the training stops.")] = 8
    features: Annotated[FeatureSpec, Field(description="Facts at the cutoff, beside the window.")] = FeatureSpec()

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, value: Any) -> Any:
        """What is written goes before what the preset says."""
        if not isinstance(value, dict):
            return value
        return {**PRESETS.get(value.get("preset"), {}), **value}

    @field_validator("intervals")
    @classmethod
    def _rising(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if sorted(set(value)) != list(value) or not all(0 < share < 100 for share in value):
            raise ValueError("intervals are rising whole per cents between 1 and 99")
        return value

    @property
    def levels(self) -> tuple[float, ...]:
        """Quantile levels, rising: the ends of every interval and the median.

        >>> ForecastRecipe(intervals=(80, 90)).levels
        (0.05, 0.1, 0.5, 0.9, 0.95)
        """
        lower = [round((100 - share) / 200, 4) for share in reversed(self.intervals)]
        return (*lower, 0.5, *(round(1 - level, 4) for level in reversed(lower)))
