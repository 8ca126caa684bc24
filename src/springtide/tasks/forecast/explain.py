"""Which inputs move the forecasts of an exported model: groups of inputs exchanged among items, and what that changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from springtide.evaluation.scores import pinball
from springtide.tasks.forecast.scoring import item_scale, naive_error
from springtide.tasks.forecast.training import WindowTensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from springtide.tasks.forecast.export import ExportedForecaster
    from springtide.tasks.forecast.items import Windows

    Floats = NDArray[np.float64]

__all__ = ["Inputs", "cut_inputs", "explain_forecaster"]

ITEMS = 512  # judging items among which inputs are exchanged
SHUFFLES = 3  # how often: the scatter between them says how far to trust the mean
TYPICAL = 32  # training items that an input of the newest forecast is taken from
MOST_SERIES = 10  # whose newest forecast is explained
MOST_WIDER = 1000.0  # times: an interval so much wider than the one beside it stands beside none at all
TIMES = "time of day and week"


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """What a forecaster sees at n items, in groups that can be exchanged among items one at a time.

    Attributes
    ----------
    groups : mapping
        By name, (n, ...) arrays. Candles have ``prices``: log open and close less the log of the last close;
        ``range``: how far high and low reach beyond both, in logs; ``volume``; ``market``. Plain series have
        ``values``, less the last one and in units of `unit`. Both have the cutoff and groups of features.
    level : (n,) float64
        The last close or value, on the scale on which changes are added up; it stays where it is.
    unit : (n,) float64
        What a plain series changes by; 1 where changes are ratios.
    logarithmic : bool
        Whether they are.
    """

    groups: Mapping[str, NDArray[Any]]
    level: Floats
    unit: Floats
    logarithmic: bool

    def with_group(self, name: str, values: NDArray[Any]) -> Inputs:
        """The same with one group of other items: `values` (n, ...)."""
        return replace(self, groups={**self.groups, name: values})

    def repeated(self, times: int) -> Inputs:
        """One item, `times` times."""
        groups = {name: np.repeat(values, times, axis=0) for name, values in self.groups.items()}
        return replace(self, groups=groups, level=np.repeat(self.level, times), unit=np.repeat(self.unit, times))

    def feeds(self, features: tuple[str, ...]) -> dict[str, NDArray[Any]]:
        """What the graph takes; `features` names the group of each of its features."""
        groups = self.groups
        feeds: dict[str, NDArray[Any]] = {"cutoff": groups[TIMES]}
        if "prices" in groups:
            feeds |= {"candles": self._candles(), "market": groups["market"]}
        else:
            values = self.level[:, None, None] + self.unit[:, None, None] * groups["values"]
            feeds["values"] = np.exp(values) if self.logarithmic else values
        if features:
            columns = np.empty((len(self.level), len(features)), dtype=np.float32)
            for name in set(features):
                columns[:, _places(features, name)] = groups[name]
            feeds["features"] = columns
        return feeds

    def _candles(self) -> Floats:
        """(n, window, 5) open, high, low, close, volume."""
        opened, close = np.moveaxis(self.groups["prices"] + self.level[:, None, None], 2, 0)
        above, below = np.moveaxis(self.groups["range"], 2, 0)
        high, low = np.maximum(opened, close) + above, np.minimum(opened, close) - below
        prices = np.exp(np.stack([opened, high, low, close], axis=2))
        candles: Floats = np.concatenate([prices, self.groups["volume"][:, :, None]], axis=2)
        return candles


def cut_inputs(windows: Windows, items: NDArray[np.int64]) -> Inputs:
    """The inputs at (n,) items, in groups."""
    panel = windows.panel
    cut = [tensor.numpy() for tensor in WindowTensors.of(windows, torch.device("cpu")).inputs(torch.from_numpy(items))]
    names = windows.features.groups
    features = {name: cut[-1][:, _places(names, name)] for name in dict.fromkeys(names)}
    level, unit = panel.level[items], np.ones(len(items))
    if panel.kind == "candles":
        candles, market, cutoff = cut[:3]
        groups = {**_candle_groups(candles, level), "market": market, TIMES: cutoff}
        return Inputs({**groups, **features}, level, unit, panel.logarithmic)
    if not panel.logarithmic:
        unit = naive_error(windows)[panel.owner[items]]
    values = np.log(cut[0]) if panel.logarithmic else cut[0]  # (n, window, 1)
    groups = {"values": (values - level[:, None, None]) / unit[:, None, None], TIMES: cut[1]}
    return Inputs({**groups, **features}, level, unit, panel.logarithmic)


def explain_forecaster(forecaster: ExportedForecaster, windows: Windows, *, seed: int) -> dict[str, Any]:
    """Which groups of inputs the forecasts of the judging items rest on, and what moved the newest ones.

    Over the judging items each group is exchanged among them, and the rise of the mean loss is its importance:
    what the loss would lose if the group said nothing about its item. At the newest row of each series each group is
    replaced by what it was at training items of that series, and the forecast compared with the mean of those.

    Groups are judged one at a time. What two of them both say (prices and range both know the volatility) counts for
    neither alone, and inputs that are exchanged may meet others that they never met in life; see Hooker, Mentch & Zhou
    2021, arXiv:1905.03151.

    Parameters
    ----------
    forecaster : ExportedForecaster
        Made from the recipe of `windows`.
    windows : Windows
        The items of its run.
    seed : int
        Of the items that are drawn, and of their order.

    Returns
    -------
    dict
        Plain JSON. ``groups``: their names, in the order of all that follows. ``rise``: the share by which the mean loss
        of ``items`` judging items rises, the mean over ``shuffles`` exchanges; ``rise_least`` and ``rise_most`` of them;
        all three are empty where there is no loss to begin with.
        ``newest``: for each series the ``cutoff``, and what each group did at the last step: ``median``, the shift of the
        median in units of the price (of the naive error for plain series); ``width``, the share by which the widest
        interval is wider, None where training items make it next to nothing and a share of that says nothing. ``doubt``: how many of the items are unlike all training items, and their mean loss beside
        that of the others.

    Notes
    -----
    Sources: Breiman 2001, doi:10.1023/A:1010933404324; groups of inputs: Gregorutti, Michel & Saint-Pierre 2015,
    arXiv:1411.4170; single forecasts: Robnik-Sikonja & Kononenko 2008, doi:10.1109/TKDE.2007.190734.
    """
    random = np.random.default_rng(seed)
    items = np.sort(random.permutation(windows.judging)[:ITEMS])
    asked = _Asked(forecaster, windows, naive_error(windows))
    inputs = cut_inputs(windows, items)
    losses, doubtful = asked.losses(inputs, items)
    orders = [_exchange(len(items), random) for _ in range(SHUFFLES)]
    rises = np.array(
        [
            [
                asked.losses(inputs.with_group(name, values[order]), items)[0].mean() / losses.mean() - 1
                for order in orders
            ]
            for name, values in inputs.groups.items()
            if losses.any()  # a rise is a share of the loss
        ]
    ).reshape(-1, SHUFFLES)  # (groups, shuffles)
    return {
        "groups": list(inputs.groups),
        "items": len(items),
        "shuffles": SHUFFLES,
        "rise": _short(rises.mean(axis=1)),
        "rise_least": _short(rises.min(axis=1)),
        "rise_most": _short(rises.max(axis=1)),
        "doubt": _doubt(losses, doubtful),
        "newest": [_newest(asked, row, random) for row in _newest_rows(windows)],
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """A forecaster that is asked for inputs instead of items."""

    forecaster: ExportedForecaster
    windows: Windows
    naive: Floats  # (series,) the naive error of each

    def answer(self, inputs: Inputs) -> list[NDArray[Any]]:
        """Quantiles (n, horizon, levels) and dissimilarity (n,)."""
        feeds = inputs.feeds(self.windows.features.groups)
        answers: list[NDArray[Any]] = self.forecaster.session.run(None, feeds)
        return answers

    def losses(self, inputs: Inputs, items: NDArray[np.int64]) -> tuple[Floats, NDArray[np.bool_]]:
        """(n,) the loss of each item as it is judged, and whether the input is doubtful."""
        quantiles, dissimilarity = self.answer(inputs)
        levels = np.array(self.windows.recipe.levels)
        losses = pinball(self.windows.outcomes(items), quantiles, levels) / item_scale(self.windows, items, self.naive)
        return losses, dissimilarity > self.forecaster.signature["doubt_threshold"]

    def last_step(self, inputs: Inputs) -> tuple[float, float]:
        """Median and width of the widest interval at the last step, the means over all inputs."""
        last = self.answer(inputs)[0][:, -1]  # (n, levels)
        return float(last[:, last.shape[1] // 2].mean()), float((last[:, -1] - last[:, 0]).mean())


def _newest_rows(windows: Windows) -> NDArray[np.int64]:
    """The last row of each of the first series that have a whole window."""
    bounds = windows.panel.bounds
    rows: NDArray[np.int64] = (bounds[1:] - 1)[np.diff(bounds) >= windows.recipe.window]
    return rows[:MOST_SERIES]


def _newest(asked: _Asked, row: np.int64, random: np.random.Generator) -> dict[str, Any]:
    """What each group did to the forecast at `row`, beside what it would have been with typical inputs."""
    windows, panel = asked.windows, asked.windows.panel
    here = np.array([row])
    mine = windows.train[panel.owner[windows.train] == panel.owner[row]]
    typical = cut_inputs(windows, random.permutation(mine if len(mine) else windows.train)[:TYPICAL])
    inputs = cut_inputs(windows, here)
    many = inputs.repeated(len(typical.level))
    median, width = asked.last_step(inputs)
    others = [asked.last_step(many.with_group(name, values)) for name, values in typical.groups.items()]
    scale = float(item_scale(windows, here, asked.naive)[0])
    return {
        "series": panel.series[panel.owner[row]],
        "cutoff": datetime.fromtimestamp(int(panel.seconds[row]), tz=UTC).isoformat(),
        "median": _short([(median - other) / scale for other, _ in others]),
        "width": [_wider(width, other) for _, other in others],
    }


def _wider(width: float, typical: float) -> float | None:
    """By which share an interval is wider than a typical one; None where that is next to nothing, which may be 0."""
    return float(f"{width / typical - 1:.6g}") if typical > 0 and width <= MOST_WIDER * typical else None


def _doubt(losses: Floats, doubtful: NDArray[np.bool_]) -> dict[str, Any]:
    """How many items are doubtful, and the mean losses of those and of the others."""
    parts = {"loss": losses[doubtful], "usual_loss": losses[~doubtful]}
    means = {name: float(f"{part.mean():.6g}") if len(part) else None for name, part in parts.items()}
    return {"items": int(doubtful.sum()), **means}


def _exchange(items: int, random: np.random.Generator) -> NDArray[np.int64]:
    """(items,) the partner of each: a ring in random order, so that nobody keeps its own."""
    ring = random.permutation(items)
    partner = np.empty(items, dtype=np.int64)
    partner[ring] = np.roll(ring, 1)
    return partner


def _places(groups: tuple[str, ...], name: str) -> list[int]:
    return [place for place, group in enumerate(groups) if group == name]


def _candle_groups(candles: Floats, level: Floats) -> dict[str, NDArray[Any]]:
    """Prices, range and volume of (n, window, 5) candles."""
    opened, high, low, close = np.moveaxis(np.log(candles[:, :, :4]), 2, 0)
    reach = [high - np.maximum(opened, close), np.minimum(opened, close) - low]
    return {
        "prices": np.stack([opened, close], axis=2) - level[:, None, None],
        "range": np.stack(reach, axis=2),
        "volume": candles[:, :, 4],
    }


def _short(values: Any) -> list[float]:
    """Six digits are enough for people."""
    return [float(f"{value:.6g}") for value in values]
