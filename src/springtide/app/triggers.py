"""What starts runs by itself, what was seen last and what comes next: for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from springtide.domain.units import format_span
from springtide.pipeline.triggers.asking import rhythm_of
from springtide.pipeline.triggers.sources import KIND as SOURCE
from springtide.pipeline.triggers.sources import heard, next_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime, timedelta

    from springtide.app.home import Home
    from springtide.domain.trigger import TriggerState
    from springtide.settings.words import Retrain

__all__ = ["model_triggers", "source_rhythms"]


def model_triggers(home: Home) -> list[dict[str, Any]]:
    """Every trigger of every model; `next` is a time, or what it waits for in words."""
    states = {(state.subject, state.kind): state for state in home.registry.trigger_states()}
    made = home.registry.champions_made()
    return [
        {"model": model, **trigger}
        for model, settings in home.settings.models.items()
        for trigger in _of_model(model, settings.retrain, states, made.get(model))
    ]


def _of_model(
    model: str, retrain: Retrain, states: Mapping[tuple[str, str], TriggerState], made: datetime | None
) -> Iterator[dict[str, Any]]:
    def seen(kind: str) -> datetime | None:
        return states[model, kind].at if (model, kind) in states else None

    if (schedule := retrain.schedule) is not None:
        since = seen("cron")
        ahead = "not seen yet" if since is None else schedule.after(since)
        yield {"kind": "cron", "setting": str(schedule), "seen": since, "next": ahead}
    if retrain.new_rows is not None:
        wanted = f"{retrain.new_rows:,} rows more than the last run"
        yield {"kind": "new_rows", "setting": str(retrain.new_rows), "seen": seen("new_rows"), "next": wanted}
    if retrain.max_age is not None:
        fired = seen("max_age")
        since = max((moment for moment in (made, fired) if moment is not None), default=None)
        due = "now" if since is None else since + retrain.max_age
        yield {"kind": "max_age", "setting": format_span(retrain.max_age), "seen": fired, "next": due}
    if retrain.drift:
        yield {"kind": "drift", "setting": "on", "seen": seen("drift"), "next": "when there is drift"}
    if retrain.regions:
        reported = states.get((model, "regions"))
        later = "" if reported is None else f" after that from {str(reported.facts['period'])[:16].replace('T', ' ')}"
        wanted = f"all regions have reported for a period{later}"
        yield {"kind": "regions", "setting": "on", "seen": seen("regions"), "next": wanted}


def source_rhythms(home: Home) -> list[dict[str, Any]]:
    """Every source: how often it is asked, when it last brought rows, whether it is silent."""
    states = {state.subject: state for state in home.registry.trigger_states() if state.kind == SOURCE}
    facts = []
    for name, source in home.settings.sources.items():
        rhythm, state = rhythm_of(source, home.settings.sources.values()), states.get(name)
        seen = {} if state is None or rhythm.every is None else state.facts
        asked = state.at if state is not None and seen else None
        facts.append(
            {
                "source": name,
                "every": _span(rhythm.every),
                "silent_after": _span(rhythm.silent_after),
                "asked": asked,
                "brought": heard(state) if state is not None and seen.get("brought") else None,
                "silent": bool(seen.get("silent_since")),
                "failures": int(seen.get("failures", 0)),
                "error": seen.get("error"),
                "next": next_time(state, rhythm.after(asked)) if state is not None and asked is not None else None,
            }
        )
    return facts


def _span(span: timedelta | None) -> str:
    return "off" if span is None else format_span(span)
