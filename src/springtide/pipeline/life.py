"""A model's life replayed over history: trained, judged, promoted or kept, and what would have been served when."""

from __future__ import annotations

import re
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from springtide.domain.errors import NotReady, SettingsError, TooFewRows
from springtide.evaluation.significance import compare, compare_by_group
from springtide.pipeline.backtest import join
from springtide.pipeline.gathering import Gathered, gather
from springtide.pipeline.recorder import Silent
from springtide.pipeline.retraining import Outcome, retrain
from springtide.pipeline.steps import Order, write_manifest
from springtide.registry.blobs import Blobs
from springtide.registry.database import open_database
from springtide.registry.migrate import migrate
from springtide.registry.registry import Registry
from springtide.registry.wire import manifest_from, run_from, to_json, verdict_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from springtide.domain.model import Version
    from springtide.domain.rows import Snapshot
    from springtide.domain.run import Failure
    from springtide.domain.verdict import Verdict
    from springtide.evaluation.losses import Losses
    from springtide.evaluation.significance import Difference
    from springtide.lake.table import Table
    from springtide.settings.words import Model
    from springtide.tasks.seam import Task

__all__ = ["ALWAYS", "NEVER", "SERVED", "Life", "Plan", "Rival", "Span", "live_through"]

SERVED, NEVER, ALWAYS = "served", "never retrained", "always promoted"


@dataclass(frozen=True, slots=True)
class Plan:
    """Through which time a model lives, and how often it is retrained on the way."""

    model: str
    settings: Model
    every: timedelta
    code: str
    mark: str  # part of the runs' ids: tells one replay from another
    since: datetime | None = None  # the first retraining; the gate's judging span before the end when None
    until: datetime | None = None  # where it ends; with the newest row when None


@dataclass(frozen=True, slots=True)
class Span:
    """One retraining, and the time until the next in which its outcome served.

    `version`, `verdict` are those of the challenger, None where the run failed; `serving` is the version that serves
    from `start` on, None while nothing does. `losses` are the mean losses of everyone on the `items` predicted in the
    span; there are none while no version exists, or where no outcome is known. Until one is promoted, the version that
    is never retrained is the first one made.
    """

    start: datetime
    stop: datetime
    version: int | None
    verdict: Verdict | None
    failure: Failure | None
    promoted: bool
    serving: int | None
    items: int
    losses: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Rival:
    """One who would have answered, over all items that count; `difference` is of the life's reference against it."""

    name: str
    items: int
    loss: float
    metrics: Mapping[str, float]
    difference: Difference | None  # None for the reference itself
    by_group: Mapping[str, Difference]


@dataclass(frozen=True, slots=True)
class Life:
    """What would have happened, and how good it would have been.

    `rivals` are what was served, the version that served first and was never retrained, the newest challenger whatever
    its verdict, and the baselines, all on the same items. `reference` is the one whose gain over the others is told:
    what was served, or the newest challenger where nothing ever was. `published` says under which name a version of the
    replay is in the registry now.
    """

    model: str
    loss_name: str
    reference: str
    spans: tuple[Span, ...]
    rivals: tuple[Rival, ...]
    best_baseline: str
    notes: tuple[str, ...]
    published: Mapping[str, str] = field(default_factory=dict)


def live_through(
    plan: Plan, *, task: Task[Any, Any, Any], tables: Callable[[str], Table], registry: Registry | None = None
) -> Iterator[int | Span | Life]:
    """Replay the loop with the code of production; yields how many spans there are, each span, then the result.

    Every retraining is a run of `pipeline.retraining` as of its time, with a registry, a journal and a clock of the
    replay's own, in a temporary folder. A run that fails is recorded, and life goes on as it would have.

    Parameters
    ----------
    plan : Plan
        Which model, and which time.
    task : Task
        What kind of learning problem it is.
    tables : callable
        Opens a table by its name; its rows are those known today, late corrections among them.
    registry : Registry, optional
        Where the versions that served are published in the end; nowhere when None.

    Raises
    ------
    SettingsError
        If the plan's times are not within the table's.
    NotReady
        If no retraining worked, or no outcome is known of what was forecast.

    Notes
    -----
    Each item is predicted by what was learned before it and judged when its outcome comes: prequential evaluation,
    Dawid 1984, doi:10.2307/2981683.
    """
    step = timedelta(seconds=tables(plan.settings.table).step_s or 0)
    known = gather(plan.settings, task=task, tables=tables, known_at=plan.until)
    edges = _edges(plan, known.snapshot, step)
    yield len(edges) - 1
    with tempfile.TemporaryDirectory(prefix="springtide-") as folder, _empty_registry(Path(folder)) as own:
        replay = _Replay(_keeping_files(plan, len(edges)), task, tables, step, known, own, Path(folder))
        spans, losses = [], []
        for start, stop in pairwise(edges):
            span, found = replay.live(start, stop)
            spans.append(span)
            losses.append(found)
            yield span
        life = _sum_up(plan.model, spans, losses)
        yield life if registry is None else replace(life, published=replay.publish(spans, registry))


def _edges(plan: Plan, rows: Snapshot, step: timedelta) -> list[datetime]:
    """The times of the retrainings, and the end: when the newest row is known."""
    end = rows.last + step
    moment = plan.since or end - plan.settings.gate.judge
    if plan.every < step:
        raise SettingsError(
            f"{plan.every} is shorter than one step of the rows", where="--retrain-every", do="give a longer span"
        )
    if not rows.first < moment < end:
        raise SettingsError(
            f"nothing can be replayed from {moment:%Y-%m-%d %H:%M} until {end:%Y-%m-%d %H:%M}",
            where=f"table {rows.table}, rows from {rows.first:%Y-%m-%d %H:%M} to {rows.last:%Y-%m-%d %H:%M}",
            do="let --from and --until lie within the rows, in this order",
        )
    edges = []
    while moment < end:
        edges.append(moment)
        moment += plan.every
    return [*edges, end]


@contextmanager
def _empty_registry(folder: Path) -> Iterator[Registry]:
    """A registry that lasts as long as the folder."""
    url = f"sqlite:///{folder}/springtide.db"
    migrate(url)
    engine = open_database(url)
    try:
        yield Registry(engine, Blobs(str(folder / "models")))
    finally:
        engine.dispose()


def _keeping_files(plan: Plan, versions: int) -> Plan:
    """The plan without retention: the first version is asked until the end, and whatever served may be published."""
    return replace(plan, settings=plan.settings.model_copy(update={"keep_versions": max(2, versions)}))


@dataclass(frozen=True, slots=True)
class _Replay:
    """History gone through once; `own` is the replay's registry, `known` the rows until its end."""

    plan: Plan
    task: Task[Any, Any, Any]
    tables: Callable[[str], Table]
    step: timedelta
    known: Gathered
    own: Registry
    folder: Path

    def live(self, start: datetime, stop: datetime) -> tuple[Span, dict[str, Losses]]:
        """Retrain at `start`, then forecast until `stop`."""
        outcome, failure = self._retrain(start)
        losses = self._losses(start, stop)
        champion = self.own.champion(self.plan.model)
        span = Span(
            start=start,
            stop=stop,
            version=None if outcome is None else outcome.version.number,
            verdict=None if outcome is None else outcome.verdict,
            failure=failure,
            promoted=outcome is not None and outcome.entry.action == "promote",
            serving=None if champion is None else champion.number,
            items=max((len(one.values) for one in losses.values()), default=0),
            losses={name: one.mean for name, one in losses.items()},
        )
        return span, losses

    def _retrain(self, moment: datetime) -> tuple[Outcome | None, Failure | None]:
        """One run as production makes it, as of `moment`; where it fails, what its record says."""
        plan = self.plan
        order = Order(
            run=f"{moment:%Y%m%d-%H%M%S}-{plan.model}-replay-{plan.mark}",
            model=plan.model,
            settings=plan.settings,
            reasons=(f"replay as of {moment:%Y-%m-%d %H:%M} UTC",),
            code=plan.code,
            until=moment,
        )
        try:
            outcome = retrain(
                order,
                task=self.task,
                tables=self.tables,
                registry=self.own,
                collect=None,
                reporter=Silent(),
                now=lambda: moment,
            )
        except Exception:  # a worker lives through a failed run, whatever it failed of; so does the replay, and says it
            failure = self.own.run(order.run).failure
            if failure is None:
                raise
            return None, failure
        return outcome, None

    def _losses(self, start: datetime, stop: datetime) -> dict[str, Losses]:
        """Everyone on the items that are predicted from `start` until `stop`; empty where there is nobody, or nothing.

        An item is predicted when the step it is named by ends.
        """
        versions = self.own.versions(self.plan.model)
        if not versions:
            return {}
        try:
            prepared = self.task.prepare(
                self.known.rows,
                self.plan.settings.recipe,
                judged_from=start - self.step,
                judged_until=stop - self.step,
                outside=self.known.others,
            )
        except TooFewRows:  # the span has no item: a gap, or outcomes that come after the end
            return {}
        named = {NEVER: self._first(versions), ALWAYS: versions[0].number}
        if (champion := self.own.champion(self.plan.model)) is not None:
            named[SERVED] = champion.number
        asked = {number: self.task.losses(self._load(number), prepared) for number in set(named.values())}
        baselines = self.task.baselines(prepared, self.plan.settings.gate.baselines)
        return {name: asked[number] for name, number in named.items()} | {
            name: self.task.losses(rival, prepared) for name, rival in baselines.items()
        }

    def _first(self, versions: Sequence[Version]) -> int:
        """The version that was promoted first; the first one made, as long as none was."""
        promoted = [entry.version for entry in self.own.journal(self.plan.model) if entry.action == "promote"]
        return (promoted or [version.number for version in versions])[-1]

    def _load(self, number: int) -> Any:
        return self.task.load(self._files(self.own.version(self.plan.model, number)))

    def _files(self, version: Version) -> Path:
        return self.own.fetch(version, self.folder / f"version-{version.number}")

    def publish(self, spans: Sequence[Span], registry: Registry) -> dict[str, str]:
        """Publish the versions that served, in their order, with their runs; returns their names there.

        What they say of each other is said with the names they have there. The journal is not touched.
        """
        names: dict[str, str] = {}
        for number in dict.fromkeys(span.serving for span in spans if span.serving is not None):
            version = self.own.version(self.plan.model, number)
            folder = self._files(version)
            manifest = manifest_from(_renamed(to_json(version.manifest), self.plan.model, names))
            verdict = verdict_from(_renamed(to_json(version.verdict), self.plan.model, names))
            run = run_from(_renamed(to_json(self.own.run(manifest.run)), self.plan.model, names))
            published = registry.publish(write_manifest(manifest, folder), folder, verdict)
            # its last step is the replay's own publishing
            registry.save_run(replace(run, version=published.number, steps=run.steps[:-1]))
            names[version.name] = published.name
        return names


def _renamed(text: str, model: str, names: Mapping[str, str]) -> str:
    """JSON with the versions of a model called by their new names."""
    return re.sub(rf"\b{re.escape(model)}@\d+\b", lambda found: names.get(found[0], found[0]), text)


def _sum_up(model: str, spans: Sequence[Span], losses: Sequence[Mapping[str, Losses]]) -> Life:
    """Everyone over all spans in which something served; over all with a version when nothing ever did."""
    counted = [one for one in losses if SERVED in one] or [one for one in losses if one]
    if not counted:
        raise _nothing_to_show(spans)
    joined = {name: join([one[name] for one in counted]) for name in counted[0]}
    reference = SERVED if SERVED in joined else ALWAYS
    rivals = {name: _rival(name, one, None if name == reference else joined[reference]) for name, one in joined.items()}
    return Life(
        model=model,
        loss_name=joined[reference].name,
        reference=reference,
        spans=tuple(spans),
        rivals=tuple(sorted(rivals.values(), key=lambda rival: rival.loss)),
        best_baseline=min(rivals.keys() - {SERVED, NEVER, ALWAYS}, key=lambda name: rivals[name].loss),
        notes=tuple(_notes(spans)),
    )


def _rival(name: str, losses: Losses, reference: Losses | None) -> Rival:
    return Rival(
        name=name,
        items=len(losses.values),
        loss=losses.mean,
        metrics=losses.metrics,
        difference=None if reference is None else compare(reference, losses),
        by_group={} if reference is None else compare_by_group(reference, losses),
    )


def _notes(spans: Sequence[Span]) -> Iterator[str]:
    """What a reader must know beside the figures."""
    first = next((span for span in spans if span.serving is not None), None)
    if first is None:
        yield (
            "nothing was ever promoted, so nothing would have served; "
            f"the figures are those of the newest challenger ({ALWAYS}), since the first version"
        )
    elif first is not spans[0]:
        idle = (first.start - spans[0].start) / timedelta(days=1)
        yield (
            f"nothing served for the first {idle:.4g} days, until {first.start:%Y-%m-%d %H:%M}: "
            "what was predicted before is left out for everyone"
        )
    if failed := [span for span in spans if span.failure is not None]:
        yield f"{len(failed)} of {len(spans)} retrainings failed; who served before went on"
    if empty := [span for span in spans if span.version is not None and not span.items]:
        yield f"{len(empty)} of {len(spans)} spans have no item whose outcome is known (first: {empty[0].start:%Y-%m-%d %H:%M})"


def _nothing_to_show(spans: Sequence[Span]) -> NotReady:
    where = f"replay from {spans[0].start:%Y-%m-%d %H:%M} until {spans[-1].stop:%Y-%m-%d %H:%M}"
    failures = [span.failure for span in spans if span.failure is not None]
    if len(failures) == len(spans):
        last = failures[-1]
        return NotReady(
            f"none of {len(spans)} retrainings worked; the last one: {last.what}",
            where=f"{where}; {last.where}",
            do=last.do,
        )
    return NotReady(
        "no outcome is known of anything that was forecast", where=where, do="let the replay begin earlier (--from)"
    )
