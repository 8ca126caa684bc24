"""What the version was made from and how: items, rows, training, steps, files."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from springtide.app.report import pictures
from springtide.app.report.markup import element, join, note, table
from springtide.app.report.record import moment
from springtide.app.report.words import count, plain, seconds, when
from springtide.domain.units import format_span

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from springtide.app.report.markup import Html
    from springtide.app.report.record import Record

__all__ = ["show_making"]


def show_making(record: Record) -> Iterator[Html]:
    """Items, data, training, steps, and where it all comes from."""
    for part in (_items, _data, _training, _steps, _origin):
        yield from part(record)


def _items(record: Record) -> Iterator[Html]:
    """Which time was learned from, and which was judged."""
    prepared, snapshot = record.result("prepare"), record.result("snapshot")
    first, last = moment(snapshot.get("first")), moment(snapshot.get("last"))
    judged, seen = moment(prepared.get("judged_from")), moment(prepared.get("trained_until"))
    if first is None or last is None or judged is None or seen is None:
        return
    yield element("h2", "What was learned and what was judged")
    purge, validation = record.horizon, _span(record.setting.get("validation"))
    if purge is None or validation is None:
        spans = [("training", first, seen), ("judging", judged, last)]
    else:
        validated = judged - purge - validation
        learned = max(first, validated - purge)
        period = _span(record.setting.get("train_period"))
        spans = [
            ("training", max(first + record.window, learned - period if period else first), learned),
            ("purge", learned, validated),
            ("validation", validated, judged - purge),
            ("purge", judged - purge, judged),
            ("judging", judged, last - purge),
        ]
    parts = [pictures.Part(kind, start.timestamp(), stop.timestamp()) for kind, start, stop in spans]
    yield element("figure", pictures.draw_timeline(parts, label="Training, validation and judging time"))
    rows = [
        (
            join((element("span", class_=f"swatch {kind}"), kind)),
            when(start),
            when(stop),
            count(prepared[f"{kind}_items"]) if f"{kind}_items" in prepared else "",
        )
        for kind, start, stop in spans
    ]
    yield table(("", "forecasts from (UTC)", "until", "items"), rows, numbers=("items",))
    if purge is not None:
        yield note(
            f"Between the parts {format_span(purge)} are left out, as long as a forecast reaches, so that no outcome is in "
            "two of them; they are drawn wider than they are."
        )


def _data(record: Record) -> Iterator[Html]:
    snapshot, prepared = record.result("snapshot"), record.result("prepare")
    if not snapshot:
        return
    yield element("h2", "The data")
    facts = {
        "table": f"{snapshot.get('table')}, version {snapshot.get('version')}",
        "rows": snapshot.get("rows"),
        "from (UTC)": when(moment(snapshot.get("first"))),
        "to (UTC)": when(moment(snapshot.get("last"))),
        "series": ", ".join(record.series),
        "missing rows that were filled": prepared.get("filled_rows"),
        "items left out at gaps": prepared.get("items_left_out_at_gaps"),
        "features": prepared.get("features") or None,
        "content hash (SHA-256)": snapshot.get("sha256"),
    }
    for name, other in snapshot.get("outside", {}).items():
        facts[f"outside table {name}"] = _line(other, without={"table", "filter"})
    facts["outside rows not known yet"] = "; ".join(snapshot.get("outside_unknown", ())) or None
    for source, brought in record.result("collect").items():
        facts[f"brought by {source}"] = _line(brought, without={"table", "version"})
    yield _facts(facts)


def _training(record: Record) -> Iterator[Html]:
    train, export = record.result("train"), record.result("export")
    if not train:
        return
    yield element("h2", "The training")
    yield _facts(
        {key.replace("_", " "): value for key, value in train.items()}
        | {f"export: {key.replace('_', ' ')}": value for key, value in export.items() if key != "bytes"}
    )


def _steps(record: Record) -> Iterator[Html]:
    run = record.run
    if not run.steps:
        return
    yield element("h2", "The steps")
    longest = max((step.seconds or 0.0 for step in run.steps), default=0.0) or 1.0
    rows = [
        (step.name, pictures.draw_bar(step.seconds or 0.0, 0.0, longest), seconds(step.seconds) or "not finished")
        for step in run.steps
    ]
    yield table(("step", "", "time"), rows, numbers=("time",))


def _origin(record: Record) -> Iterator[Html]:
    """All that is needed to trace the version, and to make it again."""
    run, version = record.run, record.version
    yield element("h2", "Where it comes from")
    facts: dict[str, Any] = {
        "run": run.id,
        "started (UTC)": run.started,
        "ended (UTC)": run.finished,
    }
    if version is not None:
        manifest = version.manifest
        facts |= {
            "version": version.name,
            "task": manifest.task,
            "code": manifest.code,
            "learned until (UTC)": manifest.trained_until,
        }
    yield _facts(facts)
    if version is not None:
        yield element("h3", "Settings")
        yield _facts(record.setting)
        yield element("h3", "Files")
        rows = [(name, element("code", digest)) for name, digest in version.manifest.files.items()]
        yield table(("file", "SHA-256"), rows)
    yield note("A forecast is no advice to trade.")


def _line(facts: Mapping[str, Any], *, without: set[str]) -> str:
    return ", ".join(f"{name} {plain(value)}" for name, value in facts.items() if name not in without)


def _span(written: Any) -> timedelta | None:
    """A span as settings hold it (ISO 8601); None where there is none."""
    return None if written is None else TypeAdapter(timedelta).validate_python(written)


def _facts(facts: Mapping[str, Any]) -> Html:
    """Names and values, without those that are not there."""
    rows = [
        (name, element("code", value) if _is_hash(value) else plain(value))
        for name, value in facts.items()
        if value not in (None, "")
    ]
    return table(("", ""), rows, kind="facts")


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64
