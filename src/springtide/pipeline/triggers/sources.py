"""Sources that bring rows by themselves: who is asked now, who failed, who has fallen silent."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from springtide.domain.trigger import Finding, TriggerState
from springtide.domain.units import format_span
from springtide.pipeline.triggers.asking import rhythm_of
from springtide.pipeline.triggers.elsewhere import Elsewhere, describe
from springtide.sources.files.landing import Landing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor, Future

    from springtide.settings.words import Source

__all__ = ["Sources", "Turn", "heard", "next_time"]

KIND = "source"
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=30), timedelta(hours=1)  # after a failure, twice as long each time


@dataclass(slots=True)
class Turn:
    """What one look at all sources gave: who is asked, rows, what to tell, and the states to store after that."""

    begun: list[str] = field(default_factory=list)
    brought: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    states: list[TriggerState] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came of asking: rows that are new or corrected (None: nothing had landed), and when the newest row closed."""

    rows: int | None
    newest: datetime | None = None


class Sources:
    """All sources; each is asked in a thread of a pool, so that a slow one keeps nobody waiting.

    Parameters
    ----------
    settings
        The sources of springtide.toml.
    ingest
        Brings in a source and returns how many rows are new or corrected.
    newest
        When the newest row of a source in its table closed, whoever brought it; None where that cannot be told.
    pool
        Where sources are asked.
    now
        The clock.
    """

    def __init__(
        self,
        settings: Mapping[str, Source],
        *,
        ingest: Callable[[str], int],
        newest: Callable[[str], datetime | None],
        pool: Executor,
        now: Callable[[], datetime],
    ) -> None:
        self._rhythms = {name: rhythm_of(source, settings.values()) for name, source in settings.items()}
        self._ingest, self._newest, self._now = ingest, newest, now
        self._asks = Elsewhere(pool, self._ask)
        self._states: dict[str, TriggerState] = {}
        self._due: dict[str, datetime] = {}
        self._landings: dict[str, Landing] = {}

    def take_up(self, seen: Mapping[str, TriggerState], now: datetime) -> list[TriggerState]:
        """Go on from what was stored; a source seen for the first time is asked at once."""
        new = []
        for name, rhythm in self._rhythms.items():
            if rhythm.every is None:
                continue
            state = seen.get(name)
            if state is None:
                state = TriggerState(name, KIND, now, {"since": now.isoformat()})
                new.append(state)
            self._states[name] = state
            self._due[name] = now if name not in seen else next_time(state, rhythm.after(state.at))
            if rhythm.watched is not None and name not in self._landings:
                self._landings[name] = Landing(rhythm.watched, state.facts.get("landed"))
        return new

    def turn(self, now: datetime) -> Turn:
        """Ask who is due, and hear who has answered."""
        turn = Turn()
        for name, due in self._due.items():
            # A time farther off than any wait is of a clock that has been set back since.
            if (due <= now or due > self._latest(name, now)) and self._asks.begin(name, now):
                turn.begun.append(name)
                self._due[name] = self._after(name, now)
        for name, ask in self._asks.ended():
            self._hear(name, ask, now, turn)
        for name in self._due:
            if self._asks.since(name) is not None:
                self._note(name, self._judge(self._states[name], now, turn), turn)
        return turn

    def _after(self, name: str, now: datetime) -> datetime:
        due = self._rhythms[name].after(now)
        assert due is not None  # sources that are never asked are not taken up
        return due

    def _latest(self, name: str, now: datetime) -> datetime:
        return max(self._after(name, now), now + LONGEST_WAIT)

    def _ask(self, name: str) -> _Answer:
        """In a thread of the pool."""
        landing = self._landings.get(name)
        digest = None if landing is None else landing.settled()
        if landing is not None and digest is None:
            return _Answer(None)
        rows = self._ingest(name)
        if landing is not None and digest is not None:
            landing.brought(digest)
        # A run may have asked the same source just before, and found what we then did not.
        silent_after = self._rhythms[name].silent_after
        overdue = silent_after is not None and self._now() - heard(self._states[name]) >= silent_after
        return _Answer(rows, self._newest(name) if not rows and overdue else None)

    def _hear(self, name: str, ask: Future[_Answer], now: datetime, turn: Turn) -> None:
        before = self._states[name]
        if (error := ask.exception()) is not None:
            what, failures = describe(error, of=f"source {name}"), int(before.facts.get("failures", 0)) + 1
            after = _with(before, now, failures=failures, error=what)
            if failures == 1:
                turn.findings.append(_finding("source_failed", name, f"{name} could not be asked: {what}", now, now))
            self._due[name] = next_time(after, self._after(name, now))
            self._note(name, self._judge(after, now, turn), turn)
            return
        answer = ask.result()
        asked = answer.rows is not None or before.facts.get("failures")
        # A look at a folder in which nothing has landed is not worth a row.
        after = _with(before, now, failures=0, error=None) if asked else before
        if answer.rows:
            after = _with(after, now, brought=now.isoformat())
        elif answer.newest is not None and answer.newest > heard(before):
            after = _with(after, now, brought=min(now, answer.newest).isoformat())
        if answer.rows is not None:
            turn.brought[name] = answer.rows
            if name in self._landings:
                after = _with(after, now, landed=self._landings[name].known)
        self._note(name, self._judge(after, now, turn), turn)

    def _judge(self, state: TriggerState, now: datetime, turn: Turn) -> TriggerState:
        """Tell once when a source has fallen silent, and once when it speaks again."""
        name, silent_after = state.subject, self._rhythms[state.subject].silent_after
        if silent_after is None:
            return state
        last, told = heard(state), state.facts.get("silent_since")
        silent = now - last >= silent_after
        if silent and told is None:
            what = (
                f"{name} has brought nothing since {last:%Y-%m-%d %H:%M} UTC (silent_after {format_span(silent_after)})"
            )
            turn.findings.append(_finding("source_silent", name, what, last, now))
            return _with(state, state.at, silent_since=last.isoformat())
        if not silent and told is not None:
            since = datetime.fromisoformat(told)
            what = f"{name} brings rows again, for the first time since {since:%Y-%m-%d %H:%M} UTC"
            turn.findings.append(_finding("source_speaks", name, what, since, now))
            return _with(state, state.at, silent_since=None)
        return state

    def _note(self, name: str, state: TriggerState, turn: Turn) -> None:
        if state != self._states[name]:
            self._states[name] = state
            turn.states.append(state)


def heard(state: TriggerState) -> datetime:
    """When a source last brought a row, or was first seen."""
    brought: str = state.facts.get("brought") or state.facts["since"]
    return datetime.fromisoformat(brought)


def next_time(state: TriggerState, due: datetime | None) -> datetime:
    """When a source is asked again: as `due`, or after a wait when it failed."""
    failures = int(state.facts.get("failures", 0))
    if failures == 0 and due is not None:
        return due
    doublings: int = min(max(failures - 1, 0), 10)  # more would only make the number large
    return state.at + min(LONGEST_WAIT, FIRST_WAIT * (1 << doublings))


def _with(state: TriggerState, at: datetime, **facts: Any) -> TriggerState:
    return replace(state, at=at, facts={**state.facts, **facts})


def _finding(kind: str, source: str, what: str, since: datetime, at: datetime) -> Finding:
    return Finding(kind, source, what, at, id=f"{kind}:{source}:{since.isoformat()}")
