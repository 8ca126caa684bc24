"""The frozen words as JSON text, and back.

JSON has no NaN and no infinity: both are written as null, and come back as NaN where a verdict asks for a number.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from springtide.domain.model import Manifest
from springtide.domain.notice import Notice
from springtide.domain.rows import Filter, Snapshot
from springtide.domain.run import Failure, Run, Step
from springtide.domain.verdict import Comparison, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["manifest_from", "notice_from", "run_from", "snapshot_from", "to_json", "verdict_from"]


def to_json(value: Manifest | Verdict | Run | Notice) -> str:
    """One line of JSON; times as RFC 3339."""
    return msgspec.json.encode(value).decode()


def manifest_from(text: str) -> Manifest:
    """Read what `to_json` wrote of a manifest."""
    raw = msgspec.json.decode(text, type=dict[str, Any])
    words = {
        "created": _time(raw["created"]),
        "snapshot": snapshot_from(raw["snapshot"]),
        "trained_until": _time(raw.get("trained_until")),
        "outside": tuple(snapshot_from(one) for one in raw.get("outside", ())),
    }
    return Manifest(**raw | words)


def verdict_from(text: str) -> Verdict:
    """Read what `to_json` wrote of a verdict."""
    raw = msgspec.json.decode(text, type=dict[str, Any])
    comparisons = tuple(Comparison(**_numbers(c, "loss", "gain", "p_value")) for c in raw["comparisons"])
    return Verdict(**_numbers(raw, "loss") | {"comparisons": comparisons})


def run_from(text: str) -> Run:
    """Read what `to_json` wrote of a run."""
    raw = msgspec.json.decode(text, type=dict[str, Any])
    words = {
        "reasons": tuple(raw["reasons"]),
        "started": _time(raw["started"]),
        "finished": _time(raw["finished"]),
        "asked": _time(raw.get("asked")),
        "until": _time(raw.get("until")),
        "steps": tuple(Step(**step | {"started": _time(step["started"])}) for step in raw["steps"]),
        "failure": None if raw["failure"] is None else Failure(**raw["failure"]),
    }
    return Run(**raw | words)


def notice_from(text: str) -> Notice:
    """Read what `to_json` wrote of a notice."""
    raw = msgspec.json.decode(text, type=dict[str, Any])
    return Notice(**raw | {"at": _time(raw["at"])})


def snapshot_from(raw: Mapping[str, Any]) -> Snapshot:
    """Read a snapshot that was written as a part of something else."""
    limits = raw["filter"]
    rows = Filter(tuple(limits["series"]), start=_time(limits["start"]), end=_time(limits["end"]))
    return Snapshot(**{**raw, "filter": rows, "first": _time(raw["first"]), "last": _time(raw["last"])})


def _time(text: str | None) -> Any:
    """A time as it was written, or nothing."""
    return None if text is None else datetime.fromisoformat(text)


def _numbers(raw: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The same words, with NaN where a number was not finite."""
    return {**raw, **{name: math.nan if raw[name] is None else raw[name] for name in names}}
