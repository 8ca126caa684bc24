"""Proof on real rows that no feature sees the future, and that training and serving see the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from springtide.domain.errors import SpringtideError
from springtide.tasks.forecast.features.feature import Floats, batch_features, newest_features, reach_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from springtide.tasks.forecast.features.feature import Feature

__all__ = ["UnsoundFeature", "check_features"]

TOLERANCE = 1e-9
SAMPLED = 3  # rows, when none are named


class UnsoundFeature(SpringtideError):
    """A feature that reads rows after its own, or is not the same in training and serving."""

    status = 500


def check_features(features: Sequence[Feature], frame: pl.DataFrame, *, rows: Sequence[int] = ()) -> None:
    """Change every value after a row, and see that no feature of that row has changed; then compare its two forms.

    Parameters
    ----------
    features : sequence of Feature
        Those of a run.
    frame : DataFrame
        Real rows as `batch_features` takes them.
    rows : sequence of int
        Where to look; a few rows of the second half when empty.

    Raises
    ------
    UnsoundFeature
        Names the first feature that reads rows after its own, or whose newest-row form says something else.
    """
    if not features:
        return
    reach, values = reach_of(features), batch_features(features, frame)
    for row in rows or _sample(frame.height):
        around = frame.slice(max(0, row - reach + 1), min(row + 1, reach) + reach)
        here = min(row, reach - 1)
        before = batch_features(features, around)[here]
        after = batch_features(features, _changed_after(around, here))[here]
        _compare(features, before, after, row, "reads rows after its own", "look only at rows up to the row itself")
        newest = np.array([_newest(feature, around.head(here + 1)) for feature in features])
        _compare(
            features,
            values[row],
            newest,
            row,
            "is not the same in training and serving",
            "make its two forms agree, and let its reach cover every row that it reads",
        )


def _sample(height: int) -> list[int]:
    """Rows of the second half that have rows after them."""
    return sorted({int(row) for row in np.linspace(height // 2, height - 2, SAMPLED) if 0 <= row < height - 1})


def _changed_after(frame: pl.DataFrame, row: int) -> pl.DataFrame:
    """Other values in every row after `row`; where nothing was known, or nothing was, there is something."""
    rng = np.random.default_rng(0)
    changed = {}
    for name in frame.drop("ds").columns:
        values = frame[name].cast(pl.Float64).to_numpy(writable=True)
        later = values[row + 1 :]
        later[~(np.abs(later) > 0)] = 1.0
        later *= rng.uniform(0.5, 2.0, len(later))
        changed[name] = values
    return frame.with_columns(**changed)


def _newest(feature: Feature, frame: pl.DataFrame) -> float:
    """The newest-row form, from no more rows than the feature says that it needs."""
    tail = {name: column.to_numpy() for name, column in frame.tail(feature.reach).to_dict().items()}
    return float(newest_features([feature], tail)[0])


def _compare(features: Sequence[Feature], one: Floats, other: Floats, row: int, what: str, do: str) -> None:
    same = np.isclose(one, other, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    if not same.all():
        place = int(np.argmin(same))
        raise UnsoundFeature(
            f"feature {features[place].name!r} {what}",
            where=f"row {row}: {one[place]!r}, then {other[place]!r}",
            do=do,
        )
