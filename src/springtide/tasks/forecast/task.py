"""The forecast task behind the seam: from rows of candles or plain series to a file that can be served."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch

from springtide.domain.errors import SettingsError
from springtide.domain.rows import Filter
from springtide.tasks.forecast.baselines import COSTLY, fit_baselines, fit_scaled_quantiles
from springtide.tasks.forecast.baselines.seasonal import fit_seasonal_quantiles
from springtide.tasks.forecast.checkpoint import CHECKPOINT_S, TrainingCheckpoint, fingerprint
from springtide.tasks.forecast.circumstances import circumstances_of
from springtide.tasks.forecast.explain import explain_forecaster
from springtide.tasks.forecast.export import export_forecaster, load_exported, load_network
from springtide.tasks.forecast.items import split
from springtide.tasks.forecast.networks.classic import ClassicHead, ClassicObservation
from springtide.tasks.forecast.networks.forecaster import build_forecaster
from springtide.tasks.forecast.networks.head import QuantileHead
from springtide.tasks.forecast.networks.layout import Layout
from springtide.tasks.forecast.recipe import ForecastRecipe
from springtide.tasks.forecast.regression import start_at_regression
from springtide.tasks.forecast.scoring import score
from springtide.tasks.forecast.seasonal_scale import has_seasons
from springtide.tasks.forecast.space import search_space
from springtide.tasks.forecast.surroundings import outside_rows
from springtide.tasks.forecast.training import Fitted, learn_what_is_usual, train

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime
    from pathlib import Path

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray
    from pydantic import BaseModel

    from springtide.evaluation.losses import Losses
    from springtide.tasks.forecast.baselines import Predictor
    from springtide.tasks.forecast.graphs import GraphCache
    from springtide.tasks.forecast.items import Windows
    from springtide.tasks.forecast.networks.forecaster import Forecaster
    from springtide.tasks.seam import Budget, Checkpoint, Choice, Circumstances, Exported, Progress

__all__ = ["ForecastTask"]


class ForecastTask:
    """Quantiles of close (or y) for each of `horizon` steps; one model for one series or for many.

    `graphs` remembers exported graphs from run to run; without it every fit from scratch is exported anew.
    `checkpoint_s` is the least time between two checkpoints of a fit, in seconds.
    """

    name = "forecast"
    recipe: type[BaseModel] = ForecastRecipe
    costly_baselines: tuple[str, ...] = tuple(COSTLY)

    def __init__(self, *, graphs: GraphCache | None = None, checkpoint_s: float = CHECKPOINT_S) -> None:
        self.graphs = graphs
        self.checkpoint_s = checkpoint_s

    def rows(self, recipe: ForecastRecipe, *, until: datetime | None) -> Filter:
        """Which rows of the table a run needs."""
        return Filter(series=(*recipe.series, *_drivers(recipe)), end=until)

    def outside(self, recipe: ForecastRecipe) -> Mapping[str, Filter]:
        """Which rows of which other tables the features need."""
        return outside_rows(recipe.features, recipe.series)

    def space(self, recipe: ForecastRecipe) -> Mapping[str, Choice]:
        """Window, network, learning rate and weight decay."""
        return search_space(recipe)

    def prepare(
        self,
        rows: pl.LazyFrame,
        recipe: ForecastRecipe,
        *,
        judged_from: datetime,
        judged_until: datetime | None = None,
        outside: Mapping[str, pl.LazyFrame] = MappingProxyType({}),
    ) -> Windows:
        """Cut history into training, validation and judging items, purged by the horizon."""
        return split(rows, recipe, judged_from=judged_from, judged_until=judged_until, outside=outside)

    def fit(
        self,
        prepared: Windows,
        *,
        start: Path | None,
        budget: Budget,
        progress: Progress,
        checkpoint: Checkpoint | None = None,
    ) -> Fitted:
        """Train from the exported model in `start` when its layout is the same, else from its baseline.

        The facts say at which step a training with a `checkpoint` went on, and why a checkpoint was ignored if one was.
        """
        wanted = _layout(prepared, decay=0.0)
        loaded = None if start is None else load_network(start, wanted)
        champion, layout, graph = loaded or (None, wanted, None)
        mine = None
        if checkpoint is not None:
            mark = fingerprint(prepared, layout, champion, seed=budget.seed)
            mine = TrainingCheckpoint(checkpoint, mark, every_s=self.checkpoint_s)
        if mine is not None and mine.standing is not None:
            network, layout = mine.standing.network(), mine.standing.layout
        else:
            network, layout = _fresh(prepared, seed=budget.seed) if champion is None else (champion, layout)
            learn_what_is_usual(network, prepared)
        cautious = graph is None and isinstance(
            network.head, QuantileHead
        )  # a regression is a start that is hard to beat
        fitted = train(prepared, network, layout, budget=budget, progress=progress, cautious=cautious, checkpoint=mine)
        facts = {**fitted.facts, "start": "scratch" if graph is None else "champion"}
        return replace(fitted, graph=graph, facts=facts)

    def predictor(self, fitted: Fitted) -> Predictor:
        """The fitted model as a rival."""
        return fitted

    def load(self, folder: Path) -> Predictor:
        """An exported model as a rival."""
        return load_exported(folder)

    def baselines(self, prepared: Windows, also: Collection[str] = ()) -> Mapping[str, Predictor]:
        """Cheap rivals and the costly ones that `also` names, fitted on the training part only."""
        return fit_baselines(prepared, also)

    def losses(self, predictor: Predictor, prepared: Windows) -> Losses:
        """The pinball loss of every judging item."""
        return score(predictor, prepared)

    def export(self, fitted: Fitted, prepared: Windows, folder: Path) -> Exported:
        """ONNX with scaling and un-scaling inside, weights, signature and probe."""
        return export_forecaster(fitted, prepared, folder, graphs=self.graphs)

    def explain(self, folder: Path, prepared: Windows, *, seed: int) -> Mapping[str, Any]:
        """Groups of inputs by what the judged and the newest forecasts owe to them."""
        return explain_forecaster(load_exported(folder), prepared, seed=seed)

    def circumstances(self, prepared: Windows, *, seen_until: datetime, recent_from: datetime) -> Circumstances:
        """Volatility, return, volume, range and features of each series."""
        return circumstances_of(prepared, seen_until=seen_until, recent_from=recent_from)


def _drivers(recipe: ForecastRecipe) -> tuple[str, ...]:
    """Series that are read but not forecast; none when all series of the table are."""
    return tuple(name for name in recipe.features.drivers if name not in recipe.series) if recipe.series else ()


def _fresh(prepared: Windows, *, seed: int) -> tuple[Forecaster, Layout]:
    """A network at its baseline."""
    layout, table = _fit_layout(prepared)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_forecaster(layout, torch.from_numpy(table))
    network.observation.scale.fit(torch.from_numpy(prepared.features.values[prepared.train]))
    if isinstance(network.observation, ClassicObservation):
        learned = prepared.panel.values[: int(prepared.train.max()) + 1]
        network.observation.fit(torch.from_numpy(learned))
        assert isinstance(network.head, ClassicHead)  # the two come together
        network.head.fit(torch.from_numpy(learned[:, 3]))
    elif layout.kind == "candles":
        start_at_regression(network, prepared)
    return network, layout


def _fit_layout(prepared: Windows) -> tuple[Layout, NDArray[np.float64]]:
    """A fresh network's layout, and the table (horizon, levels) of the baseline that it starts from."""
    if has_seasons(prepared):
        return _layout(prepared, decay=0.0), fit_seasonal_quantiles(prepared).table
    baseline = fit_scaled_quantiles(prepared)
    return _layout(prepared, decay=baseline.decay), baseline.table


def _layout(prepared: Windows, *, decay: float) -> Layout:
    """The network that the recipe asks for; what is loaded brings a decay of its own."""
    recipe, panel = prepared.recipe, prepared.panel
    if recipe.network == "classic" and (len(panel.series) > 1 or panel.kind != "candles"):
        raise SettingsError(
            f"the classic network scales prices by their range, so it learns one series of candles, not {len(panel.series)} "
            f"of {panel.kind}",
            where="network",
            do='name one series, or take another network: "mixer"',
        )
    return Layout(
        kind=prepared.panel.kind,
        network=recipe.network,
        window=recipe.window,
        horizon=recipe.horizon,
        levels=recipe.levels,
        decay=decay,
        features=prepared.features.names,
        season=prepared.season if has_seasons(prepared) else 1,
        step_s=prepared.panel.step_s if recipe.network == "classic" else 0,
        logarithmic=recipe.logarithmic,
    )
