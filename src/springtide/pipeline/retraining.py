"""One run: collect, snapshot, prepare, train, export, evaluate, judge, explain, publish."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from springtide.domain.clock import utc_now
from springtide.domain.errors import Leak, SettingsError, did_you_mean
from springtide.domain.model import Manifest
from springtide.domain.run import Run
from springtide.pipeline.dead_runs import close_dead_runs, this_process
from springtide.pipeline.gathering import Gathered, gather, snapshot_facts
from springtide.pipeline.judgement import Rivals, judge, judging_start, measure_rivals
from springtide.pipeline.recorder import Recorder, Reporter
from springtide.tasks.seam import Budget

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from springtide.domain.model import JournalEntry, Version
    from springtide.domain.verdict import Verdict
    from springtide.lake.table import Table
    from springtide.registry.registry import Registry
    from springtide.settings.words import Model
    from springtide.tasks.seam import Exported, Prepared, Task

__all__ = ["Order", "Outcome", "retrain", "write_manifest"]

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be retrained, why, with which code, and where."""

    run: str
    model: str
    settings: Model
    reasons: tuple[str, ...]
    code: str
    until: datetime | None = None  # learn and judge from what was known at this time; from all rows when None
    environment: Mapping[str, Any] = field(default_factory=dict)  # versions, machine, threads: for the manifest


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run."""

    run: Run
    version: Version
    verdict: Verdict
    entry: JournalEntry
    metrics: Mapping[str, Mapping[str, float]]


def retrain(
    order: Order,
    *,
    task: Task[Any, Any, Any],
    tables: Callable[[str], Table],
    registry: Registry,
    collect: Callable[[], Mapping[str, Any]] | None,
    reporter: Reporter,
    now: Callable[[], datetime] = utc_now,
) -> Outcome:
    """Train a challenger, judge it against champion and baselines, publish it, and promote it if it won.

    Parameters
    ----------
    order : Order
        The model and its settings.
    task : Task
        What kind of learning problem it is.
    tables : callable
        Opens a table by its name; called after `collect`, which may create it.
    registry : Registry
        Where versions, journal and the run's record go.
    collect : callable, optional
        Brings in new rows and returns what it brought; None where no source feeds the table.
    reporter : Reporter
        Told of every step.
    now : callable
        The clock.
    """
    close_dead_runs(registry, order.model, now=now)
    run = Run(order.run, order.model, "running", order.reasons, now(), process=this_process())
    recorder = Recorder(run, registry, reporter, now)
    with recorder.whole(), tempfile.TemporaryDirectory(prefix="springtide-") as folder:
        return _Retraining(order, task, registry, recorder, Path(folder)).steps(tables, collect)


def write_manifest(manifest: Manifest, folder: Path) -> Manifest:
    """Put the manifest beside the model's files, for people who have only those; returns it with the file listed."""
    files = {name: digest for name, digest in manifest.files.items() if name != MANIFEST}
    text = msgspec.json.encode(replace(manifest, files=files))
    (folder / MANIFEST).write_bytes(msgspec.json.format(text, indent=2))
    return replace(manifest, files={**files, MANIFEST: ""})  # the registry fills in the digest of this one


@dataclass(frozen=True, slots=True)
class _Retraining:
    """The steps of one run, each of which needs only what the ones before it gave."""

    order: Order
    task: Task[Any, Any, Any]
    registry: Registry
    recorder: Recorder
    folder: Path

    def steps(self, tables: Callable[[str], Table], collect: Callable[[], Mapping[str, Any]] | None) -> Outcome:
        if collect is not None:
            with self.recorder.step("collect") as result:
                result.update(collect())
        champion = self._champion()
        gathered = self._gather(tables)
        prepared, baselines = self._prepare(gathered, champion)
        exported, challenger, seen = self._train(prepared, champion)
        rivals = self._evaluate(prepared, challenger, champion, baselines)
        verdict = self._judge(rivals, champion)
        self._explain(prepared, challenger)
        manifest = self._describe(gathered, seen, exported, challenger, rivals)
        return self._publish(manifest, challenger, rivals, verdict, champion)

    def _champion(self) -> tuple[Version, Path] | None:
        version = self.registry.champion(self.order.model)
        if version is None:
            return None
        folder = self.folder / "champion"
        folder.mkdir()
        return version, self.registry.fetch(version, folder)

    def _gather(self, tables: Callable[[str], Table]) -> Gathered:
        with self.recorder.step("snapshot") as result:
            gathered = gather(self.order.settings, task=self.task, tables=tables, known_at=self.order.until)
            result.update(snapshot_facts(gathered))
        return gathered

    def _prepare(self, gathered: Gathered, champion: tuple[Version, Path] | None) -> tuple[Prepared, Mapping[str, Any]]:
        with self.recorder.step("prepare") as result:
            start = judging_start(gathered.snapshot, self.order.settings.gate, champion[0] if champion else None)
            recipe = self.order.settings.recipe
            prepared: Prepared = self.task.prepare(gathered.rows, recipe, judged_from=start, outside=gathered.others)
            _check_apart(prepared)
            result.update(prepared.facts)
            result.update(
                trained_until=prepared.trained_until.isoformat(), judged_from=prepared.judged_from.isoformat()
            )
            result["champion"] = champion[0].name if champion else None
            baselines = self.task.baselines(prepared, self.order.settings.gate.baselines)
            self._check_baselines(baselines)  # here: a mistyped name must not cost a training
        return prepared, baselines

    def _check_baselines(self, known: Mapping[str, Any]) -> None:
        if unknown := sorted(set(self.order.settings.gate.baselines) - set(known)):
            raise SettingsError(
                f"baseline {unknown[0]!r} is not known",
                where=f"models.{self.order.model}.gate.baselines",
                do=did_you_mean(unknown[0], {*known, *self.task.costly_baselines}),
            )

    def _train(self, prepared: Prepared, champion: tuple[Version, Path] | None) -> tuple[Exported, Path, datetime]:
        """Fit and export; the time is that of the latest outcome which the new weights have seen."""
        settings = self.order.settings
        start = champion[1] if champion is not None and settings.start == "champion" else None
        budget = Budget(settings.budget.total_seconds(), settings.seed)
        with self.recorder.step("train") as result:
            fitted = self.task.fit(prepared, start=start, budget=budget, progress=self.recorder.reporter.step_advanced)
            result.update(fitted.facts)
            seen = prepared.trained_until
            if champion is not None and fitted.facts.get("start") == "champion":
                result["start"] = champion[0].name
                seen = max(seen, champion[0].manifest.trained_until or seen)  # its weights know what it has seen
        with self.recorder.step("export") as result:
            challenger = self.folder / "challenger"
            challenger.mkdir()
            exported = self.task.export(fitted, prepared, challenger)
            sizes = {name: (challenger / name).stat().st_size for name in exported.files}
            result.update(exported.facts, parity=exported.parity, bytes=sizes)
        return exported, challenger, seen

    def _evaluate(
        self,
        prepared: Prepared,
        challenger: Path,
        champion: tuple[Version, Path] | None,
        baselines: Mapping[str, Any],
    ) -> Rivals:
        with self.recorder.step("evaluate") as result:
            rivals = measure_rivals(self.task, prepared, challenger=challenger, champion=champion, baselines=baselines)
            result.update(rivals.metrics(), details=rivals.details())
        return rivals

    def _judge(self, rivals: Rivals, champion: tuple[Version, Path] | None) -> Verdict:
        with self.recorder.step("judge") as result:
            verdict = judge(rivals, self.order.settings.gate, first=champion is None, evidence=self._evidence())
            result.update(asdict(verdict))
        return verdict

    def _evidence(self) -> Mapping[str, Any] | None:
        """What the newest verdict of a run of this model has found; a version from elsewhere has no line in the journal."""
        lines = (line for line in self.registry.journal(self.order.model) if line.run is not None)
        newest = next(lines, None)
        return None if newest is None else self.registry.version(newest.model, newest.version).verdict.evidence

    def _explain(self, prepared: Prepared, challenger: Path) -> None:
        with self.recorder.step("explain") as result:
            result["explanation"] = self.task.explain(challenger, prepared, seed=self.order.settings.seed)

    def _describe(
        self, gathered: Gathered, seen: datetime, exported: Exported, challenger: Path, rivals: Rivals
    ) -> Manifest:
        order = self.order
        manifest = Manifest(
            model=order.model,
            task=self.task.name,
            run=order.run,
            created=self.recorder.now(),
            code=order.code,
            snapshot=gathered.snapshot,
            outside=tuple(gathered.outside.values()),
            recipe=order.settings.recipe.model_dump(mode="json"),
            signature={**exported.signature, "model": order.model},
            metrics=rivals.metrics(),
            files={name: sha256((challenger / name).read_bytes()).hexdigest() for name in exported.files},
            trained_until=seen,
            settings=order.settings.model_dump(mode="json", include={"seed", "budget", "start", "gate"}),
            environment=order.environment,
        )
        return write_manifest(manifest, challenger)

    def _publish(
        self,
        manifest: Manifest,
        challenger: Path,
        rivals: Rivals,
        verdict: Verdict,
        champion: tuple[Version, Path] | None,
    ) -> Outcome:
        order = self.order
        with self.recorder.step("publish") as result:
            version = self.registry.publish(manifest, challenger, verdict)
            self.recorder.published(version.number)
            said: dict[str, Any] = {
                "run": order.run,
                "by": "gate",
                "reason": verdict.reason,
                "at": self.recorder.now(),
                "warning": verdict.warning,
            }
            if verdict.promote:
                serving = champion[0].number if champion else None
                entry = self.registry.promote(order.model, version.number, **said, expected=serving)
            else:
                entry = self.registry.keep(order.model, version.number, **said)
            self.registry.retain(order.model, order.settings.keep_versions)
            result.update(version=version.number, action=entry.action, serving=entry.serving)
        return Outcome(self.recorder.run, version, verdict, entry, rivals.metrics())


def _check_apart(prepared: Prepared) -> None:
    """Refuse a task whose training part reaches into what is judged."""
    if prepared.trained_until > prepared.judged_from:
        raise Leak(
            f"training sees outcomes until {prepared.trained_until:%Y-%m-%d %H:%M}, "
            f"and judging begins at {prepared.judged_from:%Y-%m-%d %H:%M}",
            where="step prepare",
            do="cut the parts in time order: what is judged must come after all that is learned from",
        )
