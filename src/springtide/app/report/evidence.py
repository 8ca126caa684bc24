"""How the version did on the judged items, beside champion and baselines."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from springtide.app.report import pictures
from springtide.app.report.conclusion import REGIMES
from springtide.app.report.markup import Html, element, note, table
from springtide.app.report.record import CHALLENGER
from springtide.app.report.words import chance, count, figure, percent, when

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from springtide.app.report.markup import Inside
    from springtide.app.report.record import Record

__all__ = ["show_evidence", "show_metrics"]

METRICS = {
    "loss": "the loss that is judged",
    "crps": "continuous ranked probability score, about twice the loss",
    "mae": "mean absolute error of the median",
    "rmse": "root mean squared error of the median",
    "mase": "mean absolute scaled error of the median; below 1 is better than the seasonal naive in training",
    "direction": "share of steps whose direction the median foretold; a half is no skill",
    "calibration_error": "mean distance of the shares below the quantiles from their levels",
    "qlike": "quasi-likelihood loss of the variance",
}
"""What the metrics are, where their name does not say it."""
TITLES = {
    "doubtful": "By likeness to the training data",
    "hour": "By hour of the day (UTC)",
    "regime": "By volatility at the time",
}
LABELS = {"doubtful": {0: "usual", 1: "doubtful"}, "regime": REGIMES}
LEAST_REACH = 0.005  # of the scale of gains: smaller ones are drawn small
SPANS = 20  # of the judging time, drawn: fewer than are recorded, because single ones are mostly noise


def show_evidence(record: Record) -> Iterator[Html]:
    """Losses, losses over time, calibration, and gains within slices of the items."""
    yield from _losses(record)
    yield from _over_time(record)
    yield from _calibration(record)
    yield from _skill(record)


def show_metrics(record: Record) -> Iterator[Html]:
    """Every metric of everyone, and what it is."""
    metrics = record.metrics
    if not metrics:
        return
    yield element("h2", "All metrics")
    names = list(dict.fromkeys(name for one in metrics.values() for name in one))
    columns = ("", *(record.called(rival) for rival in metrics))
    rows = [(name, *(figure(one.get(name)) for one in metrics.values())) for name in names]
    yield table(columns, rows, numbers=columns[1:])
    told = [element("li", element("b", name), f": {METRICS[name]}") for name in names if name in METRICS]
    yield element("ul", *told, class_="small")


def _losses(record: Record) -> Iterator[Html]:
    """Everyone's loss, drawn as its distance from the best baseline's."""
    verdict = record.verdict
    if verdict is None:
        return
    yield element("h2", "Who is better")
    against = {one.rival: one for one in verdict.comparisons}
    losses = {CHALLENGER: verdict.loss, **{name: one.loss for name, one in against.items()}}
    bars = _bars(record, losses)
    asked_e = verdict.rule.startswith("anytime")
    rows: list[Sequence[Inside]] = []
    for name in sorted(losses, key=lambda rival: losses[rival]):
        proof = gain = ""
        if name in against:
            one = against[name]
            gain, proof = percent(one.gain), figure(one.e_value) if asked_e else chance(one.p_value).removeprefix("= ")
        rows.append((_rival(record, name), figure(losses[name]), bars.get(name, ""), gain, proof))
    columns = ("", "loss", "beside the best baseline", f"gain of {record.name}", "e" if asked_e else "p")
    yield table(columns, rows, numbers=(columns[1], *columns[3:]))
    yield note(
        f"{verdict.loss_name[0].upper()}{verdict.loss_name[1:]}, the mean over {count(verdict.items)} unseen items: lower "
        "is better. Bars to the right are better than the best baseline; long ones are cut off. "
        + (
            "e is the evidence of all runs since the champion serves."
            if asked_e
            else "p is the chance of such a gain if there were none."
        )
    )
    yield note(f"The gate said: {verdict.reason}.")


def _bars(record: Record, losses: dict[str, float]) -> dict[str, Html]:
    """For everyone with a loss a bar: by which share it is below that of the best baseline."""
    best = record.best_baseline
    if best is None:
        return {}
    below = {name: 1 - loss / best.loss for name, loss in losses.items() if not math.isnan(loss)}
    reach = 2 * max(LEAST_REACH, *(abs(share) for name, share in below.items() if record.kind(name) != "baseline"))
    return {
        name: pictures.draw_bar(max(-reach, min(reach, share)), -reach, reach, kind=record.kind(name))
        for name, share in below.items()
    }


def _over_time(record: Record) -> Iterator[Html]:
    """The loss in spans of the judging time, relative to the best baseline."""
    loss, best = record.details.get("loss", {}), record.best_baseline
    if best is None or best.rival not in loss:
        return
    size = max(1, round(len(loss["starts"]) / SPANS))
    others = [name for name in loss if name not in ("starts", *_leading(record))]
    names = [*(name for name in _leading(record) if name != best.rival), *others]  # who matters is drawn on top
    gains = {name: _gains(loss[name], loss[best.rival], size=size) for name in names}
    starts = [when(datetime.fromtimestamp(second, UTC)) for second in loss["starts"][::size]]
    one_day = starts[0][:10] == starts[-1][:10]
    drawn = pictures.draw_lines(
        [start[11:] if one_day else start[:10] for start in starts],
        [pictures.Line(record.kind(name), gains[name]) for name in names],
        label=f"Loss below that of {best.rival}, in per cent, over the judging time",
    )
    yield element("h2", "When it is better")
    yield element("figure", drawn, pictures.legend(_kinds(record, names)))
    mine = [gain for gain in gains[CHALLENGER] if gain is not None]
    better = sum(gain > 0 for gain in mine)
    yield note(
        f"By how much the mean loss in each of {len(starts)} spans of the judging time is below that of {best.rival}, the best "
        f"baseline (the line at 0). {record.name} is better in {better} of {len(mine)}. Other lines are cut off at the edge."
    )


def _calibration(record: Record) -> Iterator[Html]:
    """Whether quantiles hold what their levels promise."""
    told = record.details.get("calibration", {})
    levels = told.get("levels", ())
    names = [name for name in _leading(record) if len(told.get(name, ())) == len(levels)]
    if not levels or not names:
        return
    lines = [pictures.Line(record.kind(name), told[name]) for name in names]
    drawn = pictures.draw_calibration(levels, lines, label="Share of outcomes below each quantile against its level")
    yield element("h2", "Whether its intervals hold what they promise")
    yield element("figure", drawn, pictures.legend(_kinds(record, names)))
    yield note(
        "Across: the level of a quantile. Up: the share of outcomes that were not above it. On the dashed line both are the "
        "same: below it for low levels and above it for high ones intervals are too wide, the other way round too narrow."
    )
    metrics = record.metrics
    rows = [
        (f"{share} %", *(percent(metrics[name].get(f"coverage_{share}"), sign=False) for name in names))
        for share in record.signature.get("intervals", ())
    ]
    if rows:
        columns = ("outcomes inside", *(record.called(name) for name in names))
        yield table(columns, rows, numbers=columns[1:])


def _skill(record: Record) -> Iterator[Html]:
    """Gains within slices of the items."""
    rivals = [name for name in _leading(record) if name != CHALLENGER]
    skill = {kind: columns for kind, columns in record.details.get("skill", {}).items() if {*rivals} <= columns.keys()}
    if not skill or not rivals:
        return
    yield element("h2", "Where it is better")
    for kind, columns in sorted(skill.items(), key=lambda one: len(one[1]["labels"])):
        labels = [LABELS.get(kind, {}).get(label, str(label)) for label in columns["labels"]]
        lines = [pictures.Line(record.kind(name), columns[name]) for name in rivals]
        title = TITLES.get(kind, f"By {kind}")
        yield element("h3", title)
        yield element("figure", pictures.draw_columns(labels, lines, label=f"Gain of {record.name}. {title}"))
    yield pictures.legend({f"gain over {name}": record.kind(name) for name in rivals})
    yield note("These are many comparisons, of which some look good or bad by chance. They decide nothing.")


def _gains(mine: Sequence[float | None], theirs: Sequence[float | None], *, size: int) -> list[float | None]:
    """By which share one mean loss is below another, each `size` spans taken together; None where nothing is known."""
    found: list[float | None] = []
    for at in range(0, len(mine), size):
        pairs = zip(mine[at : at + size], theirs[at : at + size], strict=True)
        known = [(one, other) for one, other in pairs if one is not None and other]
        found.append(1 - sum(one for one, _ in known) / sum(other for _, other in known) if known else None)
    return found


def _leading(record: Record) -> list[str]:
    """The challenger, the best baseline and the champion."""
    rivals = [one.rival for one in (record.best_baseline, record.champion) if one is not None]
    return [CHALLENGER, *rivals]


def _kinds(record: Record, names: Sequence[str]) -> dict[str, str]:
    """Colours by name for the legend, the lesser baselines as one."""
    kinds = {record.called(name): record.kind(name) for name in names if record.kind(name) != "baseline"}
    return kinds | ({"other baselines": "baseline"} if len(kinds) < len(names) else {})


def _rival(record: Record, name: str) -> Inside:
    """The own version in bold; of the champion that it was one."""
    if name == CHALLENGER:
        return element("b", record.name)
    return f"{name} (champion)" if record.kind(name) == "champion" else name
