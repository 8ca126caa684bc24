"""Small pictures as SVG inside the page: colours come from its style sheet, so that they follow light and dark."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from springtide.app.report.markup import Html, element, join
from springtide.app.report.words import MINUS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "Axis",
    "Line",
    "Part",
    "draw_bar",
    "draw_calibration",
    "draw_columns",
    "draw_lines",
    "draw_timeline",
    "legend",
]

WIDTH, HEIGHT = 640, 260  # of a chart, in units of its own; the page scales it
LEFT, RIGHT, TOP, BOTTOM = 84, 14, 12, 36  # its margins; they hold the larger letters of a small screen
SIDE = 360  # of a square chart
PAD = 0.08  # share of the largest value that is left free above and below
LEAST_WIDTH = 4  # of a part of the timeline, in thousandths: a purge of a day in five years is still seen
MOST_LABELS = 8  # below columns


@dataclass(frozen=True, slots=True)
class Axis:
    """Values from `low` to `high` on lengths from `start` to `stop`."""

    low: float
    high: float
    start: float
    stop: float

    def place(self, value: float) -> float:
        """Where a value stands."""
        return self.start + (value - self.low) / ((self.high - self.low) or 1.0) * (self.stop - self.start)

    def ticks(self, count: int) -> list[float]:
        """About `count` round values.

        >>> Axis(-0.013, 0.021, 0, 1).ticks(4)
        [-0.01, 0.0, 0.01, 0.02]
        """
        rough = (self.high - self.low) / count or 1.0
        power = 10.0 ** math.floor(math.log10(rough))
        step = power * min((1, 2, 5, 10), key=lambda factor: abs(factor * power - rough))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(step * index, 12) for index in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class Line:
    """Values to be drawn; `kind` is the class of their colour."""

    kind: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a timeline, in seconds; `kind` is the class of its colour."""

    kind: str
    start: float
    stop: float


def draw_bar(value: float, low: float, high: float, *, span: tuple[float, float] | None = None, kind: str = "") -> Html:
    """A bar from zero to `value` on a scale from `low` to `high`, for a cell of a table; `span` is drawn as a whisker."""
    axis = Axis(min(low, 0.0), max(high, 0.0), 1.0, 99.0)
    zero, end = axis.place(0.0), axis.place(value)
    shapes = [
        element("rect", x=min(zero, end), y=1.5, width=abs(end - zero), height=7, class_=f"bar {kind}".rstrip()),
        element("line", x1=zero, x2=zero, y1=0, y2=10, class_="axis"),
    ]
    if span is not None:
        shapes.append(element("line", x1=axis.place(span[0]), x2=axis.place(span[1]), y1=5, y2=5, class_="whisker"))
    frame = {"viewBox": "0 0 100 10", "preserveAspectRatio": "none", "aria_hidden": "true"}
    return element("svg", *shapes, class_="bar-cell", **frame)


def draw_timeline(parts: Sequence[Part], *, label: str) -> Html:
    """Parts of time side by side to scale, but none narrower than can be seen."""
    axis = Axis(parts[0].start, parts[-1].stop, 0.0, 1000.0)
    shapes = []
    for part in sorted(parts, key=lambda one: one.start - one.stop):  # the shortest last: on top of its neighbours
        start, stop = axis.place(part.start), axis.place(part.stop)
        wider = max(0.0, LEAST_WIDTH - (stop - start))
        shapes.append(
            element("rect", x=start - wider / 2, y=0, width=stop - start + wider, height=10, class_=part.kind)
        )
    frame = {"viewBox": "0 0 1000 10", "preserveAspectRatio": "none", "role": "img", "aria_label": label}
    return element("svg", *shapes, class_="timeline", **frame)


def draw_lines(times: Sequence[str], lines: Sequence[Line], *, label: str) -> Html:
    """Shares over time in per cent; the first line is on top, and lines of the kind ``baseline`` may be cut off."""
    leading = [line for line in lines if line.kind != "baseline"] or lines
    down = _upwards(value for line in leading for value in line.values)
    along = Axis(0, max(1, len(times) - 1), LEFT, WIDTH - RIGHT)
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    window: dict[str, str | float] = {
        "x": LEFT,
        "y": TOP,
        "width": width,
        "height": height,
        "viewBox": f"{LEFT} {TOP} {width} {height}",
    }
    inside = element("svg", *(_path(line, along, down) for line in reversed(lines)), **window)
    last = len(times) - 1
    dates = [_below(along.place(0), times[0], "start"), _below(along.place(last), times[last], "end")]
    if last > 1:
        dates.append(_below(along.place(last // 2), times[last // 2], "middle"))
    return _chart(_grid(down), inside, *dates, label=label)


def draw_columns(labels: Sequence[str], lines: Sequence[Line], *, label: str) -> Html:
    """Shares up and down from zero in per cent: for each label one column of each line."""
    down = _upwards(value for line in lines for value in line.values)
    slot = (WIDTH - LEFT - RIGHT) / len(labels)
    width = min(0.8 * slot / len(lines), 60.0)
    shapes = []
    for place, line in enumerate(lines):
        offset = (place - len(lines) / 2) * width
        for index, value in enumerate(line.values):
            if value is not None:
                top, foot = sorted((down.place(value), down.place(0.0)))
                box = {"x": LEFT + (index + 0.5) * slot + offset, "y": top, "width": 0.92 * width, "height": foot - top}
                shapes.append(element("rect", class_=f"column {line.kind}", **box))
    every = math.ceil(len(labels) / MOST_LABELS)
    names = [_below(LEFT + (index + 0.5) * slot, labels[index], "middle") for index in range(0, len(labels), every)]
    return _chart(_grid(down), *shapes, *names, label=label)


def draw_calibration(levels: Sequence[float], lines: Sequence[Line], *, label: str) -> Html:
    """The share of outcomes below each level against the level; on the diagonal where a forecast is calibrated."""
    along, down = Axis(0.0, 1.0, 64, SIDE - 16), Axis(0.0, 1.0, SIDE - 40, 16)
    left, right = along.place(0), along.place(1)
    shapes = [element("line", x1=left, x2=right, y1=down.place(0), y2=down.place(1), class_="diagonal")]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y, text = down.place(tick), f"{100 * tick:.0f} %"
        shapes.append(element("line", x1=left, x2=right, y1=y, y2=y, class_="grid"))
        shapes.append(element("text", text, x=left - 8, y=y + 5, class_="end"))
        if 0 < tick < 1:
            shapes.append(element("text", text, x=along.place(tick), y=SIDE - 14, class_="middle"))
    for line in reversed(lines):
        known = zip(levels, line.values, strict=True)
        points = [(along.place(level), down.place(share)) for level, share in known if share is not None]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        shapes.append(element("polyline", points=path, class_=f"line {line.kind}"))
        shapes += [element("circle", cx=x, cy=y, r=3.5, class_=f"dot {line.kind}") for x, y in points]
    frame = {"viewBox": f"0 0 {SIDE} {SIDE}", "role": "img", "aria_label": label}
    return element("svg", *shapes, class_="chart square", **frame)


def legend(kinds: Mapping[str, str]) -> Html:
    """What the colours mean: their kinds by name."""
    entries = (element("li", element("span", class_=f"swatch {kind}"), name) for name, kind in kinds.items())
    return element("ul", *entries, class_="legend")


def _chart(*shapes: Html, label: str) -> Html:
    frame = {"viewBox": f"0 0 {WIDTH} {HEIGHT}", "role": "img", "aria_label": label}
    return element("svg", *shapes, class_="chart", **frame)


def _upwards(values: Iterable[float | None]) -> Axis:
    """The axis that shows all values, and zero."""
    known = [0.0, *(value for value in values if value is not None)]
    pad = PAD * (max(map(abs, known)) or 0.01)
    return Axis(min(known) - pad, max(known) + pad, HEIGHT - BOTTOM, TOP)


def _grid(down: Axis) -> Html:
    """Lines across at round shares, with their per cents; the one at zero stands out."""
    shapes = []
    for tick in down.ticks(4):
        y = down.place(tick)
        shapes.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid" if tick else "axis"))
        shapes.append(element("text", _per_cent(tick), x=LEFT - 8, y=y + 5, class_="end"))
    return join(shapes)


def _path(line: Line, along: Axis, down: Axis) -> Html:
    """A line that is broken where there is no value."""
    steps, pen = [], "M"
    for index, value in enumerate(line.values):
        if value is not None:
            steps.append(f"{pen}{along.place(index):.1f} {down.place(value):.1f}")
        pen = "M" if value is None else "L"
    return element("path", d="".join(steps), class_=f"line {line.kind}")


def _below(x: float, text: str, anchor: str) -> Html:
    return element("text", text, x=x, y=HEIGHT - 12, class_=anchor)


def _per_cent(share: float) -> str:
    return f"{100 * share:+.4g} %".replace("-", MINUS) if share else "0"
