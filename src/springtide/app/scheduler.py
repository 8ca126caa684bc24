"""Starts what is due: sources are asked for new rows, models that a trigger names are given a run."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

import polars as pl

from springtide.domain.errors import NotFound, SpringtideError
from springtide.domain.rows import SERIES, TIME
from springtide.pipeline.triggers.age import AgeTriggers
from springtide.pipeline.triggers.cron import CronTriggers
from springtide.pipeline.triggers.drift import DriftTriggers
from springtide.pipeline.triggers.elsewhere import describe
from springtide.pipeline.triggers.new_rows import NewRowsTriggers, Wanted
from springtide.pipeline.triggers.regions import Awaited, RegionsTriggers
from springtide.pipeline.triggers.request import RequestTriggers
from springtide.pipeline.triggers.sources import KIND as SOURCE
from springtide.pipeline.triggers.sources import Sources
from springtide.settings.words import CoinGeckoSource, ExchangeSource, SimulatorSource

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Executor

    from springtide.app.home import Home
    from springtide.app.ingestion import Brought
    from springtide.domain.trigger import Finding, TriggerState
    from springtide.pipeline.triggers.firing import Firing, Triggers

__all__ = ["Scheduler", "TickReport"]

Fired: TypeAlias = "tuple[Triggers, Firing]"

ASKING_THREADS, LOOKING_THREADS = 8, 2
SET_BACK = timedelta(days=1)  # what was stored this much later than now was stored by a clock that was wrong


@dataclass(frozen=True, slots=True)
class TickReport:
    """What one look at everything led to."""

    at: datetime
    submitted: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # reasons by model
    refused: Mapping[str, str] = field(default_factory=dict)  # models whose run could not be submitted, and why
    asked: tuple[str, ...] = ()  # sources that are being asked from now on
    brought: Mapping[str, int] = field(default_factory=dict)  # new and corrected rows of sources that have answered
    findings: tuple[Finding, ...] = ()


class Scheduler:
    """All triggers and sources of a home; exactly one process should tick, about once a second.

    What has been stored is read at the first tick, and kept in memory from then on: a process that gets the duty
    again after it had lost it makes a new scheduler. Two that tick at once for a moment submit the same runs, which
    join.

    Parameters
    ----------
    home : Home
        Settings, tables and registry.
    submit : callable
        Gives a model a run, or joins the one it has, with all the reasons there are now. Called in the thread that
        ticks, at least once for every time that a trigger fires.
    ingest : callable
        Brings in a source; called in threads of a pool, for each source once at a time.
    now : callable
        The clock.
    announce : callable
        Told of every finding, at least once; its id stays the same.
    look_for_drift : callable, optional
        Gives the reasons for which a model needs a run, if there are any; called in a thread of a pool, for models with
        a section of drift and a champion or not, at most as often as that says.
    asking, looking : Executor, optional
        Where sources are asked, and where tables and drift are looked at; threads of its own when not given.
    """

    def __init__(
        self,
        home: Home,
        submit: Callable[[str, tuple[str, ...]], object],
        ingest: Callable[[str], Brought],
        now: Callable[[], datetime],
        announce: Callable[[Finding], object],
        look_for_drift: Callable[[str], Sequence[str]] | None = None,
        *,
        asking: Executor | None = None,
        looking: Executor | None = None,
    ) -> None:
        self._home, self._submit_run, self._now, self._announce = home, submit, now, announce
        self._asking = asking or ThreadPoolExecutor(ASKING_THREADS, thread_name_prefix="ask")
        self._looking = looking or ThreadPoolExecutor(LOOKING_THREADS, thread_name_prefix="look")
        self._sources = Sources(
            home.settings.sources,
            ingest=lambda source: _rows(ingest(source)),
            newest=lambda source: newest_close(home, source),
            pool=self._asking,
            now=now,
        )
        self._kinds = _triggers_of(home, look_for_drift, self._looking)
        self._last: datetime | None = None
        self._untold: list[Finding] = []  # both are emptied again after a database that went away is back
        self._unsaved: list[TriggerState] = []

    def tick(self) -> TickReport:
        """Ask sources that are due, and submit a run for every model that a trigger names.

        Raises
        ------
        SpringtideError
            The database does not answer; what was due stays due.
        """
        now = self._now()
        if self._last is None or now < self._last - SET_BACK:
            self._take_up(now)
        self._last = now
        turn = self._sources.turn(now)
        self._untold += turn.findings
        self._unsaved += turn.states
        while self._untold:
            self._announce(self._untold[0])
            self._untold.pop(0)
        submitted, refused = self._submit(now)
        self._store([one for fired in submitted.values() for one in fired])
        return TickReport(
            now,
            submitted={model: _reasons(fired) for model, fired in submitted.items()},
            refused=refused,
            asked=tuple(turn.begun),
            brought=turn.brought,
            findings=tuple(turn.findings),
        )

    def close(self) -> None:
        """Start nothing more; calls that are on their way end by themselves."""
        for pool in (self._asking, self._looking):
            pool.shutdown(wait=False, cancel_futures=True)

    def _take_up(self, now: datetime) -> None:
        """Read what is stored, all in one query, and store what is seen for the first time."""
        states = [state for state in self._home.registry.trigger_states() if state.at <= now + SET_BACK]
        by_kind: dict[str, dict[str, TriggerState]] = defaultdict(dict)
        for state in states:
            by_kind[state.kind][state.subject] = state
        new = [state for kind in self._kinds for state in kind.take_up(by_kind[kind.kind], now)]
        new += self._sources.take_up(by_kind[SOURCE], now)
        if new:
            self._home.registry.save_triggers(new)

    def _submit(self, now: datetime) -> tuple[dict[str, list[Fired]], dict[str, str]]:
        """One call for each model that wants a run; what could not be submitted stays due."""
        wanted: dict[str, list[Fired]] = defaultdict(list)
        for kind in self._kinds:
            for firing in kind.due(now):
                wanted[firing.model].append((kind, firing))
        submitted, refused = {}, {}
        for model, fired in wanted.items():
            try:
                self._submit_run(model, _reasons(fired))
            except SpringtideError as error:
                refused[model] = describe(error, of=model)
            else:
                submitted[model] = fired
        return submitted, refused

    def _store(self, fired: Sequence[Fired]) -> None:
        """After the submission, in one transaction; in memory after that."""
        after = {(state.subject, state.kind): state for state in self._unsaved}
        answered = [firing.after for kind, firing in fired if isinstance(kind, RequestTriggers)]
        for kind, firing in fired:
            if not isinstance(kind, RequestTriggers):
                after[firing.model, kind.kind] = firing.after
        if after or answered:
            self._home.registry.save_triggers(list(after.values()), answered=answered)
        self._unsaved.clear()
        for kind, firing in fired:
            kind.settle(firing)


def newest_close(home: Home, source: str) -> datetime | None:
    """When the newest row that a source brings closed, by its table; None where a source does not name its series."""
    settings = home.settings.sources[source]
    match settings:
        case ExchangeSource() | SimulatorSource():
            series = list(settings.symbols)
        case CoinGeckoSource():
            series = list(settings.coins)
        case _:
            return None
    try:
        table = home.lake.table(settings.table or source)
    except NotFound:
        return None
    newest = table.scan().filter(pl.col(SERIES).is_in(series)).select(pl.col(TIME).max()).collect().item()
    return newest + timedelta(seconds=table.step_s or 0) if isinstance(newest, datetime) else None


def _triggers_of(
    home: Home, look_for_drift: Callable[[str], Sequence[str]] | None, looking: Executor
) -> tuple[Triggers, ...]:
    """Every kind of trigger, with what the settings say of it."""
    models = home.settings.models
    retrain = {model: settings.retrain for model, settings in models.items()}
    kinds: list[Triggers] = [
        CronTriggers({model: one.schedule for model, one in retrain.items() if one.schedule is not None}),
        NewRowsTriggers(
            {
                model: Wanted(settings.table, series_of(settings.recipe), settings.retrain.new_rows)
                for model, settings in models.items()
                if settings.retrain.new_rows is not None
            },
            lake=home.lake,
            snapshots=home.registry.newest_snapshots,
            pool=looking,
        ),
        AgeTriggers(
            {model: one.max_age for model, one in retrain.items() if one.max_age is not None},
            made=home.registry.champions_made,
        ),
        RegionsTriggers(_awaited(home), lake=home.lake, counts=home.reports, pool=looking),
        RequestTriggers(models, registry=home.registry),
    ]
    if look_for_drift is not None:
        drifting = {model: one.drift.every for model, one in retrain.items() if one.drift is not None}
        kinds.append(DriftTriggers(drifting, look=look_for_drift, pool=looking))
    return tuple(kinds)


def _awaited(home: Home) -> dict[str, Awaited]:
    """Whose reports each model waits for."""
    awaited = {}
    for model, settings in home.settings.models.items():
        source = home.settings.rows_source(settings.table)
        if settings.retrain.regions and source is not None and source.period is not None:
            awaited[model] = Awaited(settings.table, source.regions, source.period, source.full)
    return awaited


def series_of(recipe: object) -> tuple[str, ...]:
    """The series that a task's recipe names; all of the table where it names none."""
    return tuple(getattr(recipe, "series", ()))


def _reasons(fired: Sequence[Fired]) -> tuple[str, ...]:
    return tuple(firing.reason for _, firing in fired)


def _rows(brought: Brought) -> int:
    return brought.new + brought.corrected
