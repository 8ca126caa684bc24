"""Between rows and the exported graph, when serving: numpy and JSON only."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from springtide.domain.errors import BadRows, NotFound, TooFewRows, did_you_mean
from springtide.domain.rows import CANDLE_VALUES, PLAIN_VALUES, SERIES, TIME, Filter
from springtide.tasks.forecast.features.build import build_features
from springtide.tasks.forecast.features.feature import newest_features, reach_of
from springtide.tasks.forecast.features.joining import join_driver, join_outside, outside_span_s
from springtide.tasks.forecast.features.spec import FeatureSpec
from springtide.tasks.forecast.grid import market_of, on_grid
from springtide.tasks.forecast.surroundings import outside_rows, rows_of
from springtide.tasks.seam import Encoded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from springtide.tasks.forecast.features.feature import Feature, Kind

__all__ = ["ForecastCodec", "interval_columns"]

Grid = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]  # seconds, values, filled
_EMPTY: Grid = (np.zeros(0, np.int64), np.zeros((0, len(CANDLE_VALUES))), np.zeros(0, np.bool_))

SLACK = 24  # further steps read before the window, so that a gap at its edge is filled as it was in training


class ForecastCodec:
    """Windows of the newest rows in, one line per series and step out."""

    def series(self, signature: Mapping[str, Any]) -> tuple[str, ...]:
        """The series that it learned from; drivers of features are not among them."""
        return tuple(signature["series"])

    def rows(self, signature: Mapping[str, Any]) -> tuple[Filter, int]:
        """Which series, and how many of the newest steps of each."""
        spec, features = _features(signature)
        drivers = tuple(name for name in spec.drivers if name not in signature["series"])
        steps = max(int(signature["window"]), reach_of(features))
        return Filter(series=(*signature["series"], *drivers)), steps + SLACK

    def outside(self, signature: Mapping[str, Any]) -> Mapping[str, tuple[Filter, int]]:
        """The rows that outside features look at."""
        spec, _ = _features(signature)
        step_s = int(signature["step_s"])
        spans: dict[str, int] = {}
        for one in spec.outside.values():
            spans[one.table] = max(spans.get(one.table, 0), outside_span_s(one, step_s=step_s) + SLACK * step_s)
        return {name: (rows, spans[name]) for name, rows in outside_rows(spec, signature["series"]).items()}

    def encode(
        self,
        signature: Mapping[str, Any],
        columns: Mapping[str, NDArray[Any]],
        *,
        series: Sequence[str] = (),
        outside: Mapping[str, Mapping[str, NDArray[Any]]] = MappingProxyType({}),
    ) -> Encoded:
        """Cut the newest window of each series.

        Parameters
        ----------
        signature : mapping
            From the manifest.
        columns : mapping
            ``unique_id`` (str), ``ds`` (int64 seconds since 1970 UTC) and the value columns, all (n,), in any order.
        series : sequence of str
            Which series to forecast; all in `columns` when empty, but those that are only drivers of features.
        outside : mapping
            By table, columns of its rows: ``unique_id``, ``ds`` and numbers; a table that is not there is not known.

        Raises
        ------
        NotFound
            If a named series has no rows.
        TooFewRows
            If a series is shorter than the window, or ends more than `SLACK` steps before another one.
        BadRows
            If a column is missing, a value is not a finite number (or a price not positive), or times are off the grid.
        """
        channels = CANDLE_VALUES if signature["kind"] == "candles" else PLAIN_VALUES
        positive = signature["kind"] == "candles" or signature.get("layout", {}).get("logarithmic", False)
        names, seconds, values = _read(columns, channels, positive=positive)
        if not len(names):
            raise TooFewRows("there are no rows", where=f"model {signature['model']}", do="send or ingest rows first")
        spec, features = _features(signature)
        drivers = set(spec.drivers) - set(signature["series"])
        wanted = list(series) or sorted(set(names.tolist()) - drivers)
        if not wanted:
            raise TooFewRows(
                f"there are only rows of drivers ({', '.join(sorted(set(names.tolist())))}), which are not forecast",
                where=f"model {signature['model']}",
                do=f"send or ingest rows of {', '.join(signature['series'])} as well",
            )
        if absent := [name for name in wanted if name not in set(names.tolist())]:
            raise NotFound(
                f"no rows of series {absent[0]!r}",
                where=f"model {signature['model']}",
                do=did_you_mean(absent[0], set(names.tolist())),
            )
        grids = {name: _grid(name, seconds, values, names, signature) for name in sorted(set(names.tolist()))}
        market = _market({name: grid for name, grid in grids.items() if name not in drivers}, signature)
        window = int(signature["window"])
        for name in wanted:
            if (have := len(grids[name][0])) < window:
                raise TooFewRows(
                    f"{have} rows of {name}, the model's window needs {window}",
                    where=f"model {signature['model']}",
                    do="send or ingest more rows",
                )
        _check_together(grids, wanted, signature)
        cutoffs = np.array([grids[name][0][-1] for name in wanted], dtype=np.int64)
        inputs: dict[str, NDArray[Any]] = {signature["values"]: np.stack([grids[name][1][-window:] for name in wanted])}
        if signature["kind"] == "candles":
            inputs["market"] = np.stack([market[name][-window:] for name in wanted])
        inputs["cutoff"] = cutoffs
        facts = np.empty((len(wanted), 0))
        if features:
            rows = [_columns(name, spec, grids, outside, signature) for name in wanted]
            facts = np.stack([newest_features(features, row) for row in rows])
            inputs["features"] = facts.astype(np.float32)
        return Encoded(
            inputs,
            {
                "series": wanted,
                "cutoffs": cutoffs,
                "filled_steps": [int(grids[name][2][-window:].sum()) for name in wanted],
                "unknown_features": [_unknown(features, row, signature) for row in facts],
            },
        )

    def decode(
        self, signature: Mapping[str, Any], encoded: Encoded, outputs: Sequence[NDArray[Any]], *, model: str
    ) -> dict[str, list[Any]]:
        """Columns ``unique_id, ds, cutoff, <model>, <model>-lo-50, <model>-hi-50, ...``, a line per series and step."""
        quantiles = outputs[0]  # (series, horizon, levels)
        horizon, step_s = int(signature["horizon"]), int(signature["step_s"])
        cutoffs = encoded.context["cutoffs"]
        times = cutoffs[:, None] + step_s * np.arange(1, horizon + 1)
        columns: dict[str, list[Any]] = {
            SERIES: [name for name in encoded.context["series"] for _ in range(horizon)],
            TIME: [_moment(second) for second in times.ravel()],
            "cutoff": [_moment(second) for second in np.repeat(cutoffs, horizon)],
        }
        for name, index in interval_columns(model, signature["intervals"]).items():
            columns[name] = quantiles[:, :, index].ravel().tolist()
        return columns


def interval_columns(model: str, intervals: Sequence[int]) -> dict[str, int]:
    """Column names of the median and the ends of each interval, with their place among the levels.

    >>> interval_columns("btc", (80, 90))
    {'btc': 2, 'btc-lo-80': 1, 'btc-hi-80': 3, 'btc-lo-90': 0, 'btc-hi-90': 4}
    """
    middle = len(intervals)
    columns = {model: middle}
    for away, share in enumerate(intervals, start=1):
        columns[f"{model}-lo-{share}"] = middle - away
        columns[f"{model}-hi-{share}"] = middle + away
    return columns


def _read(
    columns: Mapping[str, NDArray[Any]], channels: Sequence[str], *, positive: bool
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.float64]]:
    if missing := [name for name in (SERIES, TIME, *channels) if name not in columns]:
        raise BadRows(
            f"no column {missing[0]!r}",
            where=f"columns {sorted(columns)}",
            do=f"send {', '.join((SERIES, TIME, *channels))}",
        )
    values = np.stack([np.asarray(columns[name], dtype=np.float64) for name in channels], axis=1)
    bad = ~np.isfinite(values).all(axis=1)
    if positive:
        bad |= (values[:, :4] <= 0).any(axis=1)  # prices, or the one value
    bad |= (values[:, 4:] < 0).any(axis=1)  # volume
    if bad.any():
        first = int(np.argmax(bad))
        shown = dict(zip(channels, values[first].tolist(), strict=True))
        raise BadRows(
            f"row {first + 1} holds {shown}",
            where=f"series {columns[SERIES][first]}",
            do="send finite numbers; prices are positive, and so are values whose ratios are learned",
        )
    return np.asarray(columns[SERIES]), np.asarray(columns[TIME], dtype=np.int64), values


def _grid(
    name: str,
    seconds: NDArray[np.int64],
    values: NDArray[np.float64],
    names: NDArray[Any],
    signature: Mapping[str, Any],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    mine = np.flatnonzero(names == name)
    mine = mine[np.argsort(seconds[mine], kind="stable")]
    times, step_s = seconds[mine], int(signature["step_s"])
    distances = np.diff(times)
    if (distances == 0).any() or (distances % step_s != 0).any():
        wrong = _moment(times[1:][(distances == 0) | (distances % step_s != 0)][0])
        raise BadRows(
            f"the row at {wrong:%Y-%m-%d %H:%M:%S} is doubled or off the grid of {step_s} seconds",
            where=f"series {name}",
            do="send one row a step",
        )
    return on_grid(times, values[mine], step_s=step_s)


def _features(signature: Mapping[str, Any]) -> tuple[FeatureSpec, tuple[Feature, ...]]:
    """The features of a model; models of old have none."""
    said = msgspec.json.encode(signature.get("features", {}))
    return _build(said, int(signature["step_s"]), signature["kind"])


@lru_cache(maxsize=64)
def _build(said: bytes, step_s: int, kind: Kind) -> tuple[FeatureSpec, tuple[Feature, ...]]:
    spec = FeatureSpec.model_validate_json(said)
    return spec, build_features(spec, step_s=step_s, kind=kind)


def _columns(
    name: str,
    spec: FeatureSpec,
    grids: Mapping[str, Grid],
    outside: Mapping[str, Mapping[str, NDArray[Any]]],
    signature: Mapping[str, Any],
) -> dict[str, NDArray[Any]]:
    """What the features of one series read."""
    candles = signature["kind"] == "candles"
    seconds, values, _ = grids[name]
    columns: dict[str, NDArray[Any]] = {TIME: seconds}
    columns |= {channel: values[:, place] for place, channel in enumerate(CANDLE_VALUES if candles else PLAIN_VALUES)}
    for driver in spec.drivers:
        theirs = grids.get(driver, _EMPTY)
        target = theirs[1][:, 3 if candles else 0]
        columns |= join_driver(seconds, driver, driver_seconds=theirs[0], values=target, filled=theirs[2])
    for fact, one in spec.outside.items():
        rows = rows_of(outside.get(one.table, {}), one, name)
        columns |= join_outside(seconds[-1:], rows, fact, one, step_s=int(signature["step_s"]))
    return columns


def _unknown(features: Sequence[Feature], values: NDArray[np.float64], signature: Mapping[str, Any]) -> tuple[str, ...]:
    """The groups of features of which one is not known now that was known at most training items."""
    usual = set(signature.get("usually_known", [feature.name for feature in features]))  # models of old do not say
    groups = [
        feature.group
        for feature, value in zip(features, values, strict=True)
        if np.isnan(value) and feature.name in usual
    ]
    return tuple(dict.fromkeys(groups))


def _market(grids: Mapping[str, Grid], signature: Mapping[str, Any]) -> dict[str, NDArray[np.float64]]:
    """The market's move at each step of each series, from the series at hand."""
    if signature["kind"] != "candles":
        return {}
    lengths = [len(grid[0]) for grid in grids.values()]
    bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    seconds = np.concatenate([grid[0] for grid in grids.values()])
    close = np.concatenate([grid[1][:, 3] for grid in grids.values()])
    filled = np.concatenate([grid[2] for grid in grids.values()])
    moves = market_of(seconds, close, filled, bounds)
    return {name: moves[bounds[place] : bounds[place + 1]] for place, name in enumerate(grids)}


def _check_together(
    grids: Mapping[str, Grid],
    wanted: Sequence[str],
    signature: Mapping[str, Any],
) -> None:
    """Refuse a series that ends long before the others: the market around its window is not among the rows."""
    newest = max(int(grid[0][-1]) for grid in grids.values())
    for name in wanted:
        behind = (newest - int(grids[name][0][-1])) // int(signature["step_s"])
        if behind > SLACK:
            raise TooFewRows(
                f"the newest row of {name} is {behind} steps older than that of other series",
                where=f"model {signature['model']}",
                do=f"bring in newer rows of {name}, or leave it out",
            )


def _moment(seconds: np.int64) -> datetime:
    return datetime.fromtimestamp(int(seconds), tz=UTC)
