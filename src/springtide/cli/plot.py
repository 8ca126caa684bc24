"""Pictures: a forecast with what was said before, beside what came; and the life of a model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from springtide.domain.rows import TIME
from springtide.pipeline.life import ALWAYS, NEVER, SERVED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import polars as pl
    from matplotlib.axes import Axes

    from springtide.app.hindcast import Hindcast
    from springtide.pipeline.life import Life

__all__ = ["draw_forecast", "draw_life"]

UP, DOWN, NOW, BEFORE = "#2f9e6e", "#c8503c", "#1f5fa8", "#8a6bbf"


def draw_forecast(
    path: Path,
    *,
    rows: pl.DataFrame,
    answer: Mapping[str, Any],
    past: Sequence[Hindcast],
    title: str,
    note: str,
) -> None:
    """Write a PNG (or SVG, PDF: by the file's ending).

    Parameters
    ----------
    path : Path
        Where to.
    rows : DataFrame
        What was observed: candles or ``ds, y``, sorted by time.
    answer : mapping
        Forecast columns of one series, as the server gives them.
    past : sequence of Hindcast
        Forecasts of times that have come since.
    title, note : str
        Above the picture, and below it in small print.
    """
    figure = Figure(figsize=(12, 6), dpi=110, layout=ConstrainedLayoutEngine(rect=(0, 0.06, 1, 0.94)))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if "close" in rows.columns:
        _draw_candles(axes, rows)
    else:
        axes.plot(date2num(rows[TIME].to_list()), rows["y"].to_numpy(), color="black", linewidth=1, label="observed")
    said = False
    for one in past:
        label = None if said else "said before (a horizon apart)"
        _draw_bands(axes, one.columns, color=BEFORE, label=label, strength=1.0 if one.unseen else 0.45)
        said = True
    _draw_bands(axes, answer, color=NOW, label="forecast", strength=1.0)
    cutoff = date2num(answer["cutoff"][0])
    axes.axvline(cutoff, color="grey", linewidth=0.8, linestyle=":")
    _finish(axes)
    axes.set_title(title, loc="left", fontweight="bold")
    figure.text(0.01, 0.0, note, fontsize=8, color="dimgrey", wrap=True, verticalalignment="bottom")
    figure.savefig(path)


def draw_life(path: Path, life: Life) -> None:
    """Write a picture of what was served, span by span, as gain over the best baseline; promotions are marked."""
    figure = Figure(figsize=(12, 5), dpi=110, layout=ConstrainedLayoutEngine())
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    edges = [date2num(span.start) for span in life.spans] + [date2num(life.spans[-1].stop)]
    for name, color, width in ((NEVER, "grey", 1.0), (ALWAYS, BEFORE, 1.0), (SERVED, NOW, 2.2)):
        gains = [
            _gain(span.losses, name, life.best_baseline)
            if name != NEVER or life.reference in span.losses  # before it served, it was another one
            else math.nan
            for span in life.spans
        ]
        if not np.isnan(gains).all():
            axes.stairs(gains, edges, baseline=None, color=color, linewidth=width, label=name)
    axes.axhline(0.0, color="black", linewidth=0.8)
    for span in life.spans:
        if span.promoted:
            axes.axvline(date2num(span.start), color=UP, linewidth=1, linestyle=":")
            axes.annotate(
                f"{life.model}@{span.version}",
                (date2num(span.start), 1.0),
                xycoords=("data", "axes fraction"),
                color=UP,
                rotation=90,
                verticalalignment="top",
                horizontalalignment="right",
            )
        elif span.failure:
            axes.axvspan(date2num(span.start), date2num(span.stop), color=DOWN, alpha=0.08, linewidth=0)
    _finish(axes)
    axes.set_ylabel("gain, %")
    axes.set_title(
        f"{life.model}: loss below that of {life.best_baseline}, span by span", loc="left", fontweight="bold"
    )
    figure.savefig(path)


def _gain(losses: Mapping[str, float], name: str, baseline: str) -> float:
    """In per cent; NaN where there is none."""
    return 100 * (1 - losses[name] / losses[baseline]) if losses.get(baseline) and name in losses else math.nan


def _finish(axes: Axes) -> None:
    """What every picture over time has."""
    locator = AutoDateLocator()
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.grid(visible=True, alpha=0.25)
    axes.margins(x=0.01)
    axes.legend(loc="upper left", frameon=False)


def _draw_candles(axes: Axes, rows: pl.DataFrame) -> None:
    times = np.asarray(date2num(rows[TIME].to_list()))
    width = 0.7 * float(np.median(np.diff(times))) if len(times) > 1 else 0.02
    opened, high, low, close = (rows[name].to_numpy() for name in ("open", "high", "low", "close"))
    colours = np.where(close >= opened, UP, DOWN).tolist()
    axes.vlines(times, low, high, colors=colours, linewidth=0.8)
    axes.bar(times, np.abs(close - opened), bottom=np.minimum(opened, close), width=width, color=colours)


def _draw_bands(axes: Axes, columns: Mapping[str, Any], *, color: str, label: str | None, strength: float) -> None:
    times = date2num(columns[TIME])
    shares = sorted({int(name.rsplit("-", 1)[1]) for name in columns if "-lo-" in name}, reverse=True)
    model = next(name.rsplit("-lo-", 1)[0] for name in columns if "-lo-" in name)
    for share in shares:
        axes.fill_between(
            times,
            columns[f"{model}-lo-{share}"],
            columns[f"{model}-hi-{share}"],
            color=mpl.colors.to_rgba(color, 0.13 * strength),
            linewidth=0,
        )
    named = label and f"{label}: median, {', '.join(str(share) for share in reversed(shares))} % bands"
    axes.plot(times, columns[model], color=color, linewidth=1.4, alpha=strength, label=named)
