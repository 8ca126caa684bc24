"""What the forecasts owe to which inputs, as the task measured it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from springtide.app.report import pictures
from springtide.app.report.markup import Html, element, note, table
from springtide.app.report.record import CHALLENGER, moment
from springtide.app.report.words import count, figure, listed, percent, when

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from springtide.app.report.record import Record

__all__ = ["show_explanation"]

SHOWN_SERIES = 4


def show_explanation(record: Record) -> Iterator[Html]:
    """Groups of inputs by importance, and what moved the newest forecast of each series."""
    told = record.explanation
    if told.get("rise"):
        yield element("h2", "What it looks at")
        yield from _importance(told)
    if told.get("newest"):
        of = "the price" if record.signature.get("kind") == "candles" else "the seasonal naive's mean error"
        yield element("h2", "What moved the newest forecast")
        yield note(
            "Each group of inputs beside what it was at training items of the same series: by how much it shifts the median "
            f"of the last step (in per cent of {of}), and by how much it makes the widest interval wider or narrower."
        )
        for one in told["newest"][:SHOWN_SERIES]:
            yield element("h3", f"{one['series']} at {when(moment(one['cutoff']))} UTC")
            yield _moved(told["groups"], one["median"], one["width"])
            if None in one["width"]:
                yield note(
                    "A dash: with inputs of training items the interval has next to no width, as where the series stood still "
                    "then, and a share of that would say nothing."
                )
        if more := told["newest"][SHOWN_SERIES:]:
            yield note(f"The record of the run holds the same of {listed([one['series'] for one in more])}.")


def _importance(told: Mapping[str, Any]) -> Iterator[Html]:
    """What the judged forecasts rest on."""
    low, high = min(told["rise_least"]), max(told["rise_most"])
    groups = zip(told["groups"], told["rise"], told["rise_least"], told["rise_most"], strict=True)
    rows = [
        (name, pictures.draw_bar(rise, low, high, span=(least, most), kind=CHALLENGER), percent(rise))
        for name, rise, least, most in sorted(groups, key=lambda group: -group[1])
    ]
    yield table(("inputs", "", "rise of the loss"), rows, numbers=("rise of the loss",))
    yield note(
        f"Each group of inputs was exchanged among {count(told['items'])} judging items; what the mean loss rises by is what "
        f"it owes to the group. The thin line spans {told['shuffles']} exchanges. What two groups both say counts for neither."
    )
    doubt = told.get("doubt", {})
    if doubt.get("items"):
        share = percent(doubt["items"] / told["items"], sign=False)
        yield note(
            f"{share} of these items are unlike anything in the training part ({count(doubt['items'])}): their mean loss is "
            f"{figure(doubt['loss'])}, that of the others {figure(doubt['usual_loss'])}."
        )


def _moved(groups: Sequence[str], medians: Sequence[float], widths: Sequence[float | None]) -> Html:
    """What each group did to one forecast, the strongest first; those without a width before them."""
    far, wide = max(map(abs, medians)), max((abs(width) for width in widths if width is not None), default=0.0)
    rows = [
        (
            name,
            pictures.draw_bar(median, -far, far, kind=CHALLENGER),
            percent(median),
            "" if width is None else pictures.draw_bar(width, -wide, wide, kind=CHALLENGER),
            percent(width),
        )
        for name, median, width in sorted(zip(groups, medians, widths, strict=True), key=_strength)
    ]
    return table(("inputs", "", "median", " ", "width"), rows, numbers=("median", "width"))


def _strength(group: tuple[str, float, float | None]) -> float:
    """Rising from the group that changes the width most."""
    return -math.inf if group[2] is None else -abs(group[2])
